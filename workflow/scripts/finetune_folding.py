from hardfold.folding.finetune import finetune
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
finetune(
    arm=snakemake.wildcards.arm,
    seed=int(snakemake.wildcards.seed),
    weights=snakemake.input.weights,
    train=snakemake.input.train,
    validation=snakemake.input.validation,
    adapter=snakemake.output.adapter,
    history=snakemake.output.history,
    record=snakemake.output.training,
    options=snakemake.params.options,
    threads=snakemake.threads,
)

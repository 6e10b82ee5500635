from hardfold.jobs import claim_gpus, start_log
from hardfold.pretraining.train import train_model

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
train_model(
    snakemake.wildcards.model,
    dict(snakemake.input),
    snakemake.output[0],
    snakemake.params.state,
    snakemake.params.settings,
    seed=snakemake.params.seed,
    threads=1,
)

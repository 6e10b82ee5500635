from hardfold.folding.predict import predict_structures
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
predict_structures(
    weights=snakemake.input.weights,
    targets=snakemake.input.targets,
    adapter=snakemake.input.adapter or None,
    output=snakemake.output[0],
    recycles=snakemake.params.recycles,
    threads=snakemake.threads,
)

from hardfold.folding.predict import predict_structures
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
predict_structures(
    weights=snakemake.input.weights,
    targets=snakemake.input.targets,
    adapters=snakemake.input.adapters,
    folds=snakemake.input.folds or None,
    output=snakemake.output[0],
    **snakemake.params.options,
    threads=snakemake.threads,
)

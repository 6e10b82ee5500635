from hardfold.folding.predict import predict_structures
from hardfold.jobs import start_log

start_log(snakemake.log[0])
predict_structures(
    weights=snakemake.input.weights,
    targets=snakemake.input.targets,
    adapter=snakemake.input.adapter or None,
    output=snakemake.output[0],
    **snakemake.params.options,
    threads=snakemake.threads,
)

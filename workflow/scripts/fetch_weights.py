from hardfold.jobs import start_log
from hardfold.weights import fetch

start_log(snakemake.log[0])
fetch(
    snakemake.wildcards.model,
    folder=snakemake.params.folder,
    archive=snakemake.params.archive,
    offline=snakemake.params.offline,
    output=snakemake.output[0],
)

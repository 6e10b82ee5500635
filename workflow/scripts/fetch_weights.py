from hardfold.fetch import fetch
from hardfold.jobs import start_log

start_log(snakemake.log[0])
fetch(
    snakemake.wildcards.model,
    folder=snakemake.params.folder,
    cache=snakemake.params.cache,
    archive=snakemake.params.archive,
    offline=snakemake.params.offline,
    output=snakemake.output[0],
)

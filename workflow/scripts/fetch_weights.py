from hardfold.fetch import fetch
from hardfold.jobs import start_log

start_log(snakemake.log[0])
fetch(
    snakemake.wildcards.model,
    folder=snakemake.params.folder,
    cache=snakemake.config["weights"]["cache"],  # these two are no parameters: they decide no result
    archive=snakemake.params.archive,
    offline=snakemake.config["inputs"]["offline"],
    output=snakemake.output[0],
)

from hardfold.jobs import start_log
from hardfold.search.shard import search_shard

start_log(snakemake.log[0])
search_shard(
    chains=snakemake.input.chains,
    folder=snakemake.output.folder,
    table=snakemake.output.table,
    threads=snakemake.threads,
    cache=snakemake.config["alignments"]["cache"],  # no parameter: another one makes nothing again
    **snakemake.params.options,
)

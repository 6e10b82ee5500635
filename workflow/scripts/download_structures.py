from hardfold.download import download_shard
from hardfold.jobs import start_log

start_log(snakemake.log[0])
download_shard(
    records=snakemake.params.records,
    folder=snakemake.output.folder,
    table=snakemake.output.table,
    mirror=snakemake.params.mirror,
    archive=snakemake.params.archive,
    cache=snakemake.config["inputs"]["cache"],  # no parameter: another one makes nothing again
    offline=snakemake.params.offline,
)

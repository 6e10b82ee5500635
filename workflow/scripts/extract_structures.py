from hardfold.jobs import start_log
from hardfold.structure.quality import extract_shard

start_log(snakemake.log[0])
extract_shard(
    records=snakemake.params.records,
    folder=snakemake.input.folder,
    downloads=snakemake.input.table,
    limits=snakemake.params.limits,
    chains=snakemake.output.chains,
    qc=snakemake.output.qc,
)

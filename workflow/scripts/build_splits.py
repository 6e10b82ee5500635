from hardfold.jobs import start_log
from hardfold.splits import build_splits

start_log(snakemake.log[0])
build_splits(
    shards=snakemake.input.shards,
    chains=snakemake.params.chains,
    targets=snakemake.input.targets,
    assignment=snakemake.output.assignment,
    audit=snakemake.output.audit,
    dropped=snakemake.output.dropped,
    threads=snakemake.threads,
    **snakemake.params.options,
)

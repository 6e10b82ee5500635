from hardfold.folding.folds import build_folds
from hardfold.jobs import start_log

start_log(snakemake.log[0])
build_folds(
    snakemake.input.shards,
    snakemake.params.chains,
    snakemake.input.targets,
    snakemake.input.assignment,
    snakemake.input.dataset,
    snakemake.output.table,
    snakemake.output.folds,
    threads=snakemake.threads,
    **snakemake.params.options,
)

from pathlib import Path

from hardfold.jobs import start_log
from hardfold.pretraining.data import select_data

start_log(snakemake.log[0])
select_data(
    Path(snakemake.params.packages),
    snakemake.input.holdouts,
    snakemake.output.data,
    snakemake.output.audit,
    **snakemake.params.options,
    seed=snakemake.params.seed,
    threads=snakemake.threads,
)

from pathlib import Path

from hardfold.jobs import start_log
from hardfold.pretraining.data import choose, read_holdouts, read_packages, select_data

start_log(snakemake.log[0])
params = snakemake.params
# First what may be missing or broken: reading the packages takes minutes.
held = read_holdouts(snakemake.input.holdouts, params.exclude)
records = choose(*read_packages(Path(params.packages)), **params.start, seed=params.seed)
select_data(
    *records,
    held,
    Path(snakemake.output.data),
    Path(snakemake.output.audit),
    Path(snakemake.output.sets),
    **params.options,
    seed=params.seed,
    threads=snakemake.threads,
)

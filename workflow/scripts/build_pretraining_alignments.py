from pathlib import Path

from hardfold.jobs import start_log
from hardfold.pretraining.data import build_alignments

start_log(snakemake.log[0])
build_alignments(
    Path(snakemake.input[0]),
    Path(snakemake.output[0]),
    **snakemake.params.options,
    seed=snakemake.params.seed,
    threads=snakemake.threads,
)

from pathlib import Path

from hardfold.jobs import start_log
from hardfold.pretraining.publish import publish

start_log(snakemake.log[0])
publish(
    snakemake.wildcards.model,
    Path(snakemake.input.run),
    Path(snakemake.input.sets),
    Path(snakemake.output[0]).parent,
    preset=snakemake.params.preset,
    **snakemake.params.limits,
)

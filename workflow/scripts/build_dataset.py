from hardfold.dataset import build_shard
from hardfold.jobs import start_log

start_log(snakemake.log[0])
build_shard(
    structures=snakemake.input.structures,
    alignments=snakemake.input.alignments,
    output=snakemake.output[0],
    **snakemake.params.options,
)

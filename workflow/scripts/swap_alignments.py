from hardfold.folding.swapped import swap_alignments
from hardfold.jobs import start_log

start_log(snakemake.log[0])
swap_alignments(
    snakemake.input.shards,
    snakemake.params.chains,
    snakemake.input.targets,
    snakemake.input.assignment,
    snakemake.output[0],
    threads=snakemake.threads,
    **snakemake.params.options,
)

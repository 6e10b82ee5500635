from hardfold.folding.shuffled import shuffle_labels
from hardfold.jobs import start_log

start_log(snakemake.log[0])
shuffle_labels(snakemake.input.dataset, snakemake.input.assignment, snakemake.output[0], snakemake.params.seed)

from hardfold.jobs import start_log
from hardfold.structure.targets import write_targets

start_log(snakemake.log[0])
write_targets(snakemake.input.shards, snakemake.input.targets, snakemake.output[0], snakemake.params.training_cutoff)

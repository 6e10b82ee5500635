from hardfold.folding.alignment import profile_chains
from hardfold.jobs import start_log

start_log(snakemake.log[0])
profile_chains(snakemake.input, snakemake.output)

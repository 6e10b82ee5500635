from hardfold.contact.couple import couple_chains
from hardfold.jobs import start_log

start_log(snakemake.log[0])
couple_chains(snakemake.input, snakemake.output)

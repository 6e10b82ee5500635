from hardfold import tables
from hardfold.jobs import start_log

start_log(snakemake.log[0])
tables.concatenate(snakemake.input, snakemake.output[0])

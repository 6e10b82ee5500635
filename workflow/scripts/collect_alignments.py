from hardfold.jobs import start_log
from hardfold.tables import concatenate

start_log(snakemake.log[0])
concatenate(snakemake.input, snakemake.output[0])

from hardfold.contact.evaluate import collect_experiments
from hardfold.jobs import start_log

start_log(snakemake.log[0])
collect_experiments(snakemake.input, snakemake.output[0])

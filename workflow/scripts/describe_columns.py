from hardfold.contact.columns import describe_columns
from hardfold.jobs import start_log

start_log(snakemake.log[0])
describe_columns(snakemake.wildcards.content, snakemake.input, snakemake.output)

from hardfold.jobs import start_log
from hardfold.search.database import build_database

start_log(snakemake.log[0])
build_database(pool=snakemake.input[0], folder="results/alignments/database", threads=snakemake.threads)

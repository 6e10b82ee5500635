from hardfold.jobs import start_log
from hardfold.statistics import compare_arms

start_log(snakemake.log[0])
compare_arms(
    snakemake.input[0],
    snakemake.output[0],
    primary=snakemake.params.primary,
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
)

from hardfold.comparison import compare_arms
from hardfold.jobs import start_log

start_log(snakemake.log[0])
compare_arms(
    snakemake.input.scores,
    snakemake.input.audit,
    snakemake.output[0],
    primary=snakemake.params.primary,
    bootstrap=snakemake.params.bootstrap,
    seed=snakemake.params.seed,
)

from hardfold.contact.collect import collect_experiments
from hardfold.jobs import start_log

start_log(snakemake.log[0])
collect_experiments(
    metrics=snakemake.input.metrics,
    configs=snakemake.input.configs,
    trainings=snakemake.input.trainings,
    assignment=snakemake.input.assignment,
    alignments=snakemake.input.alignments,
    audit=snakemake.input.audit,
    outputs=dict(snakemake.output.items()),
    resamples=snakemake.params.resamples,
    seed=snakemake.params.seed,
)

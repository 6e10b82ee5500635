from hardfold.contact.score import score_contacts
from hardfold.jobs import start_log

start_log(snakemake.log[0])
score_contacts(
    predictions=snakemake.input.predictions,
    chains={split: snakemake.input[split] for split in ("validation", "test", "target")},
    assignment=snakemake.input.assignment,
    output=snakemake.output[0],
    resamples=snakemake.params.resamples,
    seed=snakemake.params.seed,
)

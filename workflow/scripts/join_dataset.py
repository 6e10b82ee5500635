from hardfold.dataset import join
from hardfold.jobs import start_log

start_log(snakemake.log[0])
join(
    shards=snakemake.input.shards,
    assignment=snakemake.input.assignment,
    outputs=dict(zip(snakemake.params.splits, snakemake.output, strict=True)),
    settings=snakemake.params.settings,
)

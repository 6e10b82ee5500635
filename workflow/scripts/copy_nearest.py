from hardfold.folding.nearest import copy_nearest
from hardfold.jobs import start_log

start_log(snakemake.log[0])
copy_nearest(
    targets=snakemake.input.targets,
    train=snakemake.input.train,
    audit=snakemake.input.audit,
    output=snakemake.output[0],
)

from hardfold.jobs import start_log
from hardfold.provenance import write_provenance

start_log(snakemake.log[0])
write_provenance(
    path=snakemake.output[0],
    config=snakemake.params.config,
    requirements=snakemake.input.requirements,
    inputs=snakemake.input.hashed,
)

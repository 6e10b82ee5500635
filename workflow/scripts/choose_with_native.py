from hardfold.folding.oracle import choose_with_native
from hardfold.jobs import start_log

start_log(snakemake.log[0])
choose_with_native(
    steps=snakemake.input.steps,
    natives=snakemake.input.natives,
    curve=snakemake.output.curve,
    output=snakemake.output.predictions,
)

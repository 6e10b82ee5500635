from hardfold.jobs import start_log
from hardfold.scoring import score_predictions

start_log(snakemake.log[0])
score_predictions(
    predictions=snakemake.input.predictions,
    natives=snakemake.input.natives,
    alignments=snakemake.input.alignments,
    audit=snakemake.input.audit,
    arm=snakemake.wildcards.arm,
    seed=int(snakemake.wildcards.seed),
    output=snakemake.output[0],
)

from hardfold.jobs import start_log
from hardfold.scoring import score_controls

start_log(snakemake.log[0])
score_controls(
    natives=snakemake.input.natives,
    alignments=snakemake.input.alignments,
    audit=snakemake.input.audit,
    walks=snakemake.params.walks,
    seed=snakemake.params.seed,
    output=snakemake.output[0],
)

from hardfold.jobs import start_log
from hardfold.residues import score_residues

start_log(snakemake.log[0])
score_residues(predictions=snakemake.input.predictions, natives=snakemake.input.natives, output=snakemake.output[0])

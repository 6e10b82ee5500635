from pathlib import Path

from hardfold.jobs import start_log
from hardfold.report.figures import plot_report

start_log(snakemake.log[0])
plot_report(root=Path(snakemake.input.provenance).parent, folder=snakemake.output[0])

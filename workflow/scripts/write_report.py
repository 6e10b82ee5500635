from pathlib import Path

from hardfold.jobs import start_log
from hardfold.report.render import write_report

start_log(snakemake.log[0])
write_report(
    root=Path(snakemake.input.provenance).parent,
    figures=snakemake.input.figures,
    markdown_path=snakemake.output.markdown,
    html_path=snakemake.output.html,
    reference=snakemake.params.reference,
)

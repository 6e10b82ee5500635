"""The report: every result file read once, drawn, tabled and rendered to Markdown and one self-contained HTML page."""

"""The report's tables, each a function from the results to Markdown."""

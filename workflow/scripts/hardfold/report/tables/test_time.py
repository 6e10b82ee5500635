"""Table of arm test_time: what changes with the steps of adaptation."""

import pandas as pd

from hardfold.report.format import count, markdown_table, number
from hardfold.report.results import Results

COLUMNS = {"loss": ("masked loss (nats)", 3), "perplexity": ("perplexity, held-out residues", 2)}
COLUMNS |= {"plddt": ("pLDDT", 1), "tm": ("TM-score", 3)}


def all_steps(results: Results) -> pd.DataFrame:
    """The candidate steps of all runs; `tm` is NaN where no oracle ran."""
    parts = [run.steps.assign(seed=run.seed) for run in results.adaptations]
    return pd.concat(parts).reindex(columns=["target", "seed", "step", "chosen", *COLUMNS])


def steps(results: Results) -> str:
    """Means over targets and seeds by step, and how often each was chosen."""
    rows = []
    for step, part in all_steps(results).groupby("step"):
        cells = [number(part[name].mean(), digits) for name, (_, digits) in COLUMNS.items()]
        rows.append([count(step), count(len(part)), *cells, count((part["chosen"] == "yes").sum())])
    labels = [label for label, _ in COLUMNS.values()]
    return markdown_table(["step", "targets × seeds", *labels, "chosen"], rows)

"""Tables of the data: what came in, what was dropped and why, what could not be checked, the splits and their audit."""

import pandas as pd

from hardfold.report.bands import BANDS, by_band
from hardfold.report.format import count, markdown_table, number
from hardfold.report.results import Results

SPLITS = ["train", "validation", "test", "target", "dropped"]


def chains(results: Results) -> str:
    """Input chains and targets: kept, and dropped by reason."""
    status = results.chains["status"]
    dropped = results.chains[status == "dropped"]["reason"]
    rows = [["chains and targets in", count(len(status))], ["kept", count((status == "kept").sum())]]
    rows += [["dropped", count(len(dropped))]]
    rows += [[f"dropped: {reason}", count(n)] for reason, n in _counts(dropped)]
    return markdown_table(["structures", "count"], rows)


def not_checked(results: Results) -> str:
    """How many kept chains could not be put to a check, because their source lacks the field."""
    kept = results.chains[results.chains["status"] == "kept"]
    checks = kept["checks_not_possible"].str.split(",").explode().str.strip()
    rows = [[check.replace("_", " "), count(n), count(len(kept))] for check, n in _counts(checks[checks != ""])]
    return markdown_table(["check", "not checked", "of kept chains"], rows)


def splits(results: Results) -> str:
    rows = []
    neff = results.alignments.merge(results.assignment, on="chain")
    for split in SPLITS:
        part = results.assignment[results.assignment["split"] == split]
        depth = neff[neff["split"] == split]
        label = "dropped (too near to a held-out chain, or too new)" if split == "dropped" else split
        rows.append(
            [
                label,
                count(len(part)),
                count(part["cluster"].nunique()),
                number(depth["rows"].median(), 0),
                number(depth["neff"].median(), 1),
                count((depth["neff"] < 8).sum()),
            ]
        )
    return markdown_table(["split", "chains", "clusters", "median rows", "median Neff", "Neff < 8"], rows)


def searches(results: Results) -> str:
    columns = ["tool", "database", "status", "reason"]
    counts = results.alignments.groupby(columns).size().reset_index(name="n").sort_values(["n", *columns])
    rows = [[*(row[column] for column in columns), count(row["n"])] for _, row in counts.iloc[::-1].iterrows()]
    return markdown_table([*columns, "chains"], rows, numeric_from=len(columns))


def bands(results: Results) -> str:
    """Held-out chains by identity to the nearest training chain, before -> after relatives were dropped."""
    rows = []
    for split in sorted(set(results.audit["split"])):
        part = results.audit[results.audit["split"] == split]
        before, after = by_band(part, "before"), by_band(part, "after")
        rows.append([split, count(len(part)), *(f"{before[name]} → {after[name]}" for name in BANDS)])
    return markdown_table(["split", "chains", *(f"{name} %" if name != "none" else name for name in BANDS)], rows)


def barriers(results: Results) -> str:
    """The date barrier and the entry barrier, counted; unknown stands by itself and is no pass."""
    rows = []
    for split in sorted(set(results.audit["split"])):
        part = results.audit[results.audit["split"] == split]
        dates = part["date_barrier"].value_counts()
        counts = [count(dates.get(state, 0)) for state in ("passed", "failed", "unknown")]
        entries = [count((part["same_entry"] == state).sum()) for state in ("yes", "")]
        rows.append([split, count(len(part)), *counts, *entries])
    header = ["split", "chains", "date barrier passed", "failed", "not checked"]
    header += ["same entry was proposed for training", "entry not known"]
    return markdown_table(header, rows)


def _counts(values: pd.Series) -> list[tuple[str, int]]:
    """Value and count, the commonest first, ties by name."""
    return sorted(values.value_counts().items(), key=lambda pair: (-pair[1], pair[0]))

"""Tables of the folding track, a row a target: scores of every arm, published scores beside them."""

import pandas as pd

from hardfold.arms import FLOOR, MEMORISATION
from hardfold.report.format import UNKNOWN, count, is_unknown, markdown_table, number, percent
from hardfold.report.results import Results

METRICS = {"gdt_ts": ("GDT_TS", 3), "lddt": ("lDDT-CA", 3), "rmsd": ("RMSD (Å)", 1), "plddt": ("pLDDT", 1)}


def targets(results: Results) -> str:
    """Chain scores of the baseline and the primary arm, published ones, and what may explain them."""
    arm = results.primary["arm"]
    floor = results.chain_scores(FLOOR)["tm"].droplevel("class")
    changes = results.by_target(arm).set_index("target")
    published = _published(results, "chain")
    audit = results.audit.set_index("chain")
    rows = []
    for target, row in baseline_rows(results).iterrows():
        one = changes.loc[target] if target in changes.index else None
        cells = [target, row["class"], count(row["residues"]), number(floor.get(target)), number(row["tm"])]
        cells += [UNKNOWN, UNKNOWN] if one is None else [_with_seeds(one), number(one["difference"], signed=True)]
        cells += [number(scores.get((target, "chain"))) for _, scores in published.items()]
        cells += [number(row["neff"], 1), _nearest(audit.loc[target]) if target in audit.index else UNKNOWN]
        rows.append([*cells, row["in_baseline_training_period"]])
    header = ["target", "class", "residues", "random walk TM", "baseline TM", f"{arm} TM (seeds)", "difference"]
    header += [*published, "Neff", "nearest training chain", "in the baseline's training period"]
    return markdown_table(header, rows, numeric_from=2)


def all_arms(results: Results) -> str:
    """Chain scores of every headline arm; empty where the primary one is alone."""
    if len(results.headline_arms) < 2:
        return ""
    changes = {arm: results.by_target(arm).set_index("target") for arm in results.headline_arms}
    rows = [
        [
            target,
            number(row["tm"]),
            *(_with_seeds(table.loc[target]) if target in table.index else UNKNOWN for table in changes.values()),
        ]
        for target, row in baseline_rows(results).iterrows()
    ]
    return markdown_table(["target", "baseline", *changes], rows)


def other_scores(results: Results) -> str:
    """GDT_TS, lDDT-CA, RMSD and pLDDT of each target, baseline -> primary arm."""
    before, after = (results.chain_scores(arm).droplevel("class") for arm in ("baseline", results.primary["arm"]))
    rows = []
    for target, row in baseline_rows(results).iterrows():
        pairs = (
            [number(table[metric].get(target), digits) for table in (before, after)]
            for metric, (_, digits) in METRICS.items()
        )
        rows.append([target, row["class"], *(" → ".join(pair) for pair in pairs)])
    return markdown_table(["target", "class", *(label for label, _ in METRICS.values())], rows, numeric_from=2)


def units(results: Results) -> str:
    """Scores by evaluation unit, for targets that have units besides the whole chain; empty where none has."""
    arms = ["baseline", *results.headline_arms]
    domains = results.scores[(results.scores["unit"] != "chain") & results.scores["arm"].isin(arms)]
    if domains.empty:
        return ""
    means = domains.groupby(["target", "unit", "class", "residues", "arm"])["tm"].mean().unstack("arm")
    published = _published(results, *domains["unit"].unique())
    rows = [
        [
            *key[:3],
            count(key[3]),
            *(number(row.get(arm)) for arm in arms),
            *(number(scores.get(key[:2])) for _, scores in published.items()),
        ]
        for key, row in means.iterrows()
    ]
    header = ["target", "unit", "class", "residues", *(f"{arm} TM" for arm in arms), *published]
    return markdown_table(header, rows, numeric_from=3)


def memorised(results: Results) -> str:
    rows = [
        [row["target"], row["class"], number(row["baseline"]), _with_seeds(row), number(row["difference"], signed=True)]
        for _, row in results.by_target(MEMORISATION).sort_values(["class", "target"]).iterrows()
    ]
    return markdown_table(
        ["target", "class", "baseline TM", "trained on it: TM (seeds)", "difference"], rows, numeric_from=2
    )


def baseline_rows(results: Results) -> pd.DataFrame:
    """The baseline's rows of whole chains, by class and target."""
    rows = results.scores[(results.scores["arm"] == "baseline") & (results.scores["unit"] == "chain")]
    return rows.sort_values(["class", "target"]).set_index("target")


def _published(results: Results, *units: str) -> pd.DataFrame:
    """(target, unit) -> published TM-score, a column a source, of those of the run's targets."""
    rows = results.reference[results.reference["unit"].isin(units)]
    rows = rows[rows["target"].isin(results.scores["target"])]
    return rows.pivot(index=["target", "unit"], columns="source", values="tm")[list(rows["source"].unique())]


def _with_seeds(row: pd.Series) -> str:
    """`0.412 (0.401–0.420)`: the mean and, of several seeds, the lowest and the highest."""
    if len(row["seeds"]) < 2:
        return number(row["tm"])
    return f"{number(row['tm'])} ({number(min(row['seeds']))}–{number(max(row['seeds']))})"


def _nearest(audited: pd.Series) -> str:
    """Identity to the nearest training chain: `no hit`, `35 %`, `46 % → no hit` where relatives were dropped."""
    values = (audited[column] for column in ("identity", "identity_kept"))
    before, after = ("no hit" if is_unknown(value) else percent(value) for value in values)
    return before if before == after else f"{before} → {after}"

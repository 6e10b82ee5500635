"""Tables of the folding track: differences, distribution, classes, single targets, confidence."""

import pandas as pd

from hardfold.arms import FLOOR, MEMORISATION, OFF_HEADLINE
from hardfold.leakage import band
from hardfold.report.bands import BANDS
from hardfold.report.format import UNKNOWN, count, interval, is_unknown, markdown_table, number, p_value, percent, words
from hardfold.report.results import Results


def improvements(results: Results, arms: list[str]) -> str:
    """Differences from the baseline of some arms, by class; the primary endpoint is marked."""
    endpoint = (results.primary["arm"], results.primary["class"])
    rows = []
    for entry in results.comparison["secondary"]:
        if entry["arm"] not in arms:
            continue
        mark = " (primary)" if (entry["arm"], entry["class"]) == endpoint else ""
        improved = [entry[key] for key in ("improved", "improved_low", "improved_high")]
        spread = [entry[key] for key in ("mean", "low", "high")]
        rows.append(
            [
                f"{entry['arm']}, {entry['class']}{mark}",
                count(entry["n"]),
                interval(*spread, signed=True),
                number(entry["median"], signed=True),
                p_value(entry["p"]),
                p_value(entry["p_holm"]),
                interval(*improved, digits=2),
            ]
        )
    header = ["arm, class", "n", "mean difference", "median", "p", "p (Holm)", "fraction improved"]
    return markdown_table(header, rows)


def regressions(results: Results) -> list[str]:
    """For each headline arm, the targets that fared worst."""
    lines = []
    for entry in results.comparison["secondary"]:
        if entry["arm"] in results.headline_arms and entry["class"] == "all":
            worst = [f"{one['target']} ({number(one['difference'], signed=True)})" for one in entry["worst"]]
            lines.append(f"Worst differences, arm `{entry['arm']}`: {words(worst)}.")
    return lines


def distribution(results: Results) -> str:
    rows = [
        [
            f"{row['arm']}, {row['class']}",
            count(row["n"]),
            number(row["mean_tm"]),
            number(row["median_tm"]),
            count(row["reach_0.6"]),
            count(row["reach_0.7"]),
            count(row["improved_by_0.10"]),
        ]
        for row in results.comparison["distribution"]
        if row["arm"] not in OFF_HEADLINE
    ]
    header = ["arm, class", "n", "mean TM", "median TM", "TM ≥ 0.6", "TM ≥ 0.7", "improved by ≥ 0.10"]
    return markdown_table(header, rows)


def by_class(results: Results) -> str:
    floor = results.chain_scores(FLOOR)["tm"].groupby("class").mean()
    neff = results.chain_scores("baseline")["neff"].groupby("class").median()
    means = {(row["arm"], row["class"]): row["mean_tm"] for row in results.comparison["distribution"]}
    change = {(row["arm"], row["class"]): row for row in results.comparison["secondary"]}
    rows = []
    for group in results.classes:
        for arm in results.headline_arms:
            entry = change.get((arm, group), {})
            spread = [entry.get(key) for key in ("mean", "low", "high")]
            rows.append(
                [
                    group,
                    count(entry.get("n")),
                    number(neff.get(group), 1),
                    number(floor.get(group)),
                    number(means.get(("baseline", group))),
                    f"{arm}: {number(means.get((arm, group)))}",
                    interval(*spread, signed=True),
                ]
            )
    header = ["class", "n", "median Neff", "random walk", "baseline TM", "adapted TM", "mean difference"]
    return markdown_table(header, rows)


def by_group(results: Results, column: str) -> str:
    """Mean TM-scores of the primary arm's targets by `band` (nearest training identity) or `period`."""
    targets = _differences(results, results.primary["arm"])
    baseline = _baseline_rows(results)
    if column == "band":
        groups, order = baseline["nearest_training_identity"].map(band), BANDS
        title = "nearest training identity (%)"
    else:
        groups = baseline["in_baseline_training_period"].replace("", "not known")
        order, title = sorted(set(groups)), "in the baseline's training period"
    rows = []
    for group in order:
        part = targets[targets["target"].isin(groups.index[groups == group])]
        if len(part):
            changes = [number(part["baseline"].mean()), number(part["tm"].mean())]
            rows.append([group, count(len(part)), *changes, number(part["difference"].mean(), signed=True)])
    return markdown_table([title, "n", "baseline TM", f"{results.primary['arm']} TM", "mean difference"], rows)


def targets(results: Results) -> str:
    """One row a target: TM-score of every headline arm with its spread over seeds, and what may explain it."""
    floor = results.chain_scores(FLOOR)["tm"].droplevel("class")
    changes = {arm: _differences(results, arm).set_index("target") for arm in results.headline_arms}
    rows = []
    for target, row in _baseline_rows(results).iterrows():
        cells = [target, row["class"], count(row["residues"]), number(floor.get(target)), number(row["tm"])]
        for table in changes.values():
            one = table.loc[target] if target in table.index else None
            cells += [UNKNOWN, UNKNOWN] if one is None else [_with_seeds(one), number(one["difference"], signed=True)]
        cells += [number(row["neff"], 1), _nearest(row["nearest_training_identity"])]
        rows.append([*cells, row["in_baseline_training_period"]])
    arms = [name for arm in changes for name in (f"{arm} TM (seeds)", "difference")]
    header = ["target", "class", "residues", "random walk TM", "baseline TM", *arms, "Neff", "nearest training"]
    return markdown_table([*header, "in training period"], rows, numeric_from=2)


def other_scores(results: Results) -> str:
    """GDT_TS, lDDT-CA, RMSD and pLDDT of each target, baseline -> primary arm."""
    before, after = (results.chain_scores(arm).droplevel("class") for arm in ("baseline", results.primary["arm"]))
    metrics = {"gdt_ts": ("GDT_TS", 3), "lddt": ("lDDT-CA", 3), "rmsd": ("RMSD (Å)", 1), "plddt": ("pLDDT", 1)}
    rows = []
    for target, row in _baseline_rows(results).iterrows():
        pairs = (
            [number(table[metric].get(target), digits) for table in (before, after)]
            for metric, (_, digits) in metrics.items()
        )
        rows.append([target, row["class"], *(" → ".join(pair) for pair in pairs)])
    return markdown_table(["target", "class", *(label for label, _ in metrics.values())], rows, numeric_from=2)


def units(results: Results) -> str:
    """Scores by evaluation unit, for targets that have units besides the whole chain; empty where none has."""
    arms = ["baseline", *results.headline_arms]
    domains = results.scores[(results.scores["unit"] != "chain") & results.scores["arm"].isin(arms)]
    if domains.empty:
        return ""
    means = domains.groupby(["target", "unit", "arm"])["tm"].mean().unstack("arm")
    rows = [[*key, *(number(row.get(arm)) for arm in arms)] for key, row in means.iterrows()]
    return markdown_table(["target", "unit", *(f"{arm} TM" for arm in arms)], rows, numeric_from=2)


def memorised_targets(results: Results) -> str:
    rows = [
        [row["target"], row["class"], number(row["baseline"]), _with_seeds(row), number(row["difference"], signed=True)]
        for _, row in _differences(results, MEMORISATION).sort_values(["class", "target"]).iterrows()
    ]
    return markdown_table(
        ["target", "class", "baseline TM", "trained on it: TM (seeds)", "difference"], rows, numeric_from=2
    )


def confidence(results: Results) -> str:
    """pLDDT beside lDDT-CA over whole chains: Pearson's r, and how far the two lie apart."""
    rows = []
    for arm in ["baseline", *results.headline_arms]:
        points = results.chain_scores(arm)[["plddt", "lddt"]].dropna()
        gap = points["plddt"] / 100 - points["lddt"]
        varies = len(points) > 2 and points.nunique().min() > 1
        correlation = points["plddt"].corr(points["lddt"]) if varies else None
        rows.append(
            [
                arm,
                count(len(points)),
                number(points["plddt"].mean(), 1),
                number(points["lddt"].mean()),
                number(correlation),
                number(gap.mean(), signed=True),
                number(gap.abs().mean()),
            ]
        )
    header = ["arm", "n", "mean pLDDT", "mean lDDT", "Pearson r", "pLDDT/100 − lDDT", "mean absolute gap"]
    return markdown_table(header, rows)


def _differences(results: Results, arm: str) -> pd.DataFrame:
    columns = ["target", "class", "arm", "tm", "baseline", "difference", "seeds"]
    table = pd.DataFrame(results.comparison["by_target"], columns=columns)
    return table[table["arm"] == arm]


def _baseline_rows(results: Results) -> pd.DataFrame:
    rows = results.scores[(results.scores["arm"] == "baseline") & (results.scores["unit"] == "chain")]
    return rows.sort_values(["class", "target"]).set_index("target")


def _with_seeds(row: pd.Series) -> str:
    """`0.412 (0.401–0.420)`: the mean and, of several seeds, the lowest and the highest."""
    if len(row["seeds"]) < 2:
        return number(row["tm"])
    return f"{number(row['tm'])} ({number(min(row['seeds']))}–{number(max(row['seeds']))})"


def _nearest(identity: float) -> str:
    return "no hit" if is_unknown(identity) else percent(identity)

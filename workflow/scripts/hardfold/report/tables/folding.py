"""Tables of the folding track over targets: differences, distribution, classes, arms against each other."""

from hardfold.arms import FLOOR, OFF_HEADLINE
from hardfold.difficulty import ALL
from hardfold.report.format import UNKNOWN, count, interval, markdown_table, number, p_value, words
from hardfold.report.results import Results


def improvements(results: Results, arms: list[str]) -> str:
    """Differences from the baseline of some arms over all targets, and the primary endpoint, which is marked."""
    endpoint = (results.primary["arm"], results.primary["class"])
    rows = []
    for entry in results.comparison["secondary"]:
        pair = (entry["arm"], entry["class"])
        if entry["arm"] in arms and (entry["class"] == "all" or pair == endpoint):
            rows.append([f"{', '.join(pair)}{' (primary)' if pair == endpoint else ''}", *_change(entry)])
    return markdown_table(["arm, class", *CHANGE], rows)


CHANGE = ["n", "mean difference", "median", "p", "p (Holm)", "fraction improved"]


def _change(entry: dict) -> list[str]:
    """The cells of CHANGE."""
    return [
        count(entry["n"]),
        interval(entry["mean"], entry["low"], entry["high"], signed=True),
        number(entry["median"], signed=True),
        p_value(entry["p"]),
        p_value(entry["p_holm"]),
        interval(entry["improved"], entry["improved_low"], entry["improved_high"], digits=2),
    ]


def pairings(results: Results, *pairs: tuple[str, str]) -> str:
    """Arms against each other: all targets, the primary ones, and by depth of alignment; empty where none was run."""
    rows = [
        [f"{row['first']} − {row['second']}", row["band"], *_change(row)]
        for row in results.comparison["pairings"]
        if (row["first"], row["second"]) in pairs
    ]
    return markdown_table(["first − second", "targets, or Neff", *CHANGE], rows, numeric_from=2) if rows else ""


def unit_improvements(results: Results) -> str:
    """Differences by class of the evaluation unit; empty where no target has units besides the whole chain."""
    if (results.scores["unit"] == "chain").all():
        return ""
    rows = [
        [
            f"{entry['arm']}, {entry['class']}",
            count(entry["n"]),
            count(entry["targets"]),
            interval(entry["mean"], entry["low"], entry["high"], signed=True),
            number(entry["median"], signed=True),
            interval(entry["improved"], entry["improved_low"], entry["improved_high"], digits=2),
        ]
        for entry in results.comparison["units"]
        if entry["arm"] in results.headline_arms
    ]
    header = ["arm, class of the unit", "units", "targets", "mean difference", "median", "fraction improved"]
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
    floor, neff = results.chain_scores(FLOOR)["tm"], results.chain_scores("baseline")["neff"]
    means = {(row["arm"], row["class"]): row["mean_tm"] for row in results.comparison["distribution"]}
    rows = []
    for group, members in results.groups.items():
        if group == ALL:
            continue
        walks, depth = (values[values.index.isin(members, level="target")] for values in (floor, neff))
        for arm in results.headline_arms:
            if entry := results.entry(arm, group):
                levels = [depth.median(), walks.mean(), means.get(("baseline", group)), means.get((arm, group))]
                cells = [number(value, digits) for value, digits in zip(levels, (1, 3, 3, 3), strict=True)]
                rows.append([f"{group}, {arm}", *cells, *_change(entry)])
    header = ["class, arm", "median Neff", "random walk TM", "baseline TM", "arm TM"]
    return markdown_table([*header, *CHANGE], rows)


def by_band(results: Results, by: str, title: str) -> str:
    """Differences of the headline arms by `identity` to the nearest training chain or by `period`."""
    rows = [
        [
            f"{row['band']}, {row['arm']}",
            count(row["n"]),
            number(row["baseline"]),
            number(row["tm"]),
            interval(row["mean"], row["low"], row["high"], signed=True),
            interval(row["improved"], row["improved_low"], row["improved_high"], digits=2),
        ]
        for row in results.comparison["bands"]
        if row["by"] == by and row["arm"] in results.headline_arms
    ]
    header = [f"{title}, arm", "n", "baseline TM", "arm TM", "mean difference", "fraction improved"]
    return markdown_table(header, rows)


METRICS = {"gdt_ts": ("GDT_TS", 3), "lddt": ("lDDT-CA", 3), "rmsd": ("RMSD (Å)", 1)}


def other_scores(results: Results, arms: list[str], level: str) -> str:
    """Mean GDT_TS, lDDT-CA and RMSD of the baseline and some arms, with each arm's difference, over whole chains
    (level `chain`) or evaluation units (`unit`); empty where there are none.
    """
    if level == "unit" and (results.scores["unit"] == "chain").all():
        return ""
    cells: dict[str, dict[str, dict]] = {arm: {} for arm in arms}
    for row in results.comparison["metrics"]:
        if row["level"] == level and row["arm"] in arms:
            cells[row["arm"]][row["metric"]] = row
    sizes = {arm: max(row["n"] for row in own.values()) for arm, own in cells.items() if own}
    if not sizes:
        return ""
    most = cells[max(sizes, key=sizes.get)]  # an arm may lack targets that the baseline has
    rows = [["baseline", count(max(sizes.values()))]]
    rows[0] += [number(most.get(metric, {}).get("baseline"), digits) for metric, (_, digits) in METRICS.items()]
    for arm, size in sizes.items():
        rows.append([arm, count(size)])
        for metric, (_, digits) in METRICS.items():
            rows[-1].append(_beside_baseline(cells[arm][metric], digits, size) if metric in cells[arm] else UNKNOWN)
    return markdown_table(["arm", level + "s", *(label for label, _ in METRICS.values())], rows)


def _beside_baseline(row: dict, digits: int, size: int) -> str:
    """`0.084 (+0.002 [+0.001, +0.004])`, with n where it is below the arm's: RMSD wants three residues."""
    change = interval(row["mean"], row["low"], row["high"], digits, signed=True)
    return f"{number(row['value'], digits)} ({change})" + (f" (n = {count(row['n'])})" if row["n"] < size else "")

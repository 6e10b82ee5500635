"""The tables of the contact track: metrics of every experiment and baseline, by band, and paired comparisons.

Intervals and tests are over the clusters of assignment.tsv: relatives are no independent evidence.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from hardfold import tables
from hardfold.alignment.diversity import NEFF_BANDS, neff_band
from hardfold.config import effective
from hardfold.contact.keys import BASELINES
from hardfold.contact.score import METRICS
from hardfold.leakage import BANDS, SCORED
from hardfold.statistics import adjust, bootstrap_intervals, wilcoxon

COMPARED = ["roc_auc", "pr_auc", "p_at_l_long"]
SUMMARY = ["experiment", *(f"{key}{part}" for key in METRICS for part in ("", "_low", "_high")), "proteins"]
COMPARISONS = [
    *("question", "first", "second", "split", "metric", "proteins", "clusters", "first_value", "second_value"),
    *("difference", "low", "high", "p", "p_holm", "p_least"),
]
BY_BAND = [
    *("experiment", "split", "by", "band", "proteins"),
    *(f"{key}{part}" for key in COMPARED for part in ("", "_low", "_high")),
]
HELD_OUT = "held_out"  # test chains and targets together
# Question -> options of which one at least must differ, and those that may differ with them.
QUESTIONS = {
    "alignment": ({"use_msa"}, set()),
    "auxiliary_tasks": ({"use_distance", "use_angle"}, set()),
    "losses": (
        {"contact_loss_type", "distance_loss_type", "angle_loss_type"},
        {"positive_weight", "focal_gamma", "focal_alpha", "num_distance_bins", "num_angle_bins"},
    ),
    "size": ({"esm2_name"}, {"num_layers_to_freeze_esm2"}),
    "couplings": ({"use_couplings"}, set()),
}


def collect_experiments(
    *,
    metrics: Sequence[Path],
    configs: Sequence[Path],
    trainings: Sequence[Path],
    assignment: Path,
    alignments: Path,
    audit: Path,
    outputs: Mapping[str, Path],
    resamples: int,
    seed: int,
) -> None:
    """Write summary.tsv (test), targets.tsv, comparisons.tsv and bands.tsv: outputs by `summary`, `targets`,
    `comparisons`, `bands`.

    metrics: metrics.json of the experiments and baselines in the order of the rows; configs, trainings: config.json
    and training.json of the experiments, which say in what they differ.
    """
    results = [_json(path) for path in metrics]
    for name, split in (("summary", "test"), ("targets", "target")):
        tables.write(outputs[name], [summary_row(result, split) for result in results], SUMMARY, ordered=True)
    options = {config["experiment"]: config["options"] for config in map(_json, configs)}
    sizes = {training["experiment"]: training["parameters"]["total"] for training in map(_json, trainings)}
    asked = [*questions(options, sizes), *(("baseline", one, other) for one in options for other in BASELINES)]
    values = values_by_protein(results)
    assigned = _by_chain(assignment, values.index)
    splits = {split: values[assigned["split"] == split] for split in SCORED} | {HELD_OUT: values}
    drawn = {"cluster": assigned["cluster"], "resamples": resamples, "seed": seed}
    compared = [row | {"split": split} for split, part in splits.items() for row in compare(part, asked, **drawn)]
    tables.write(outputs["comparisons"], adjusted(compared, asked), COMPARISONS, ordered=True)
    bands = {
        "neff": _by_chain(alignments, values.index)["neff"].astype(float).map(neff_band),
        "identity": _by_chain(audit, values.index)["band"],
    }
    rows = [
        row | {"split": split, "by": by, "band": band}
        for split, part in splits.items()
        for by, names in (("neff", NEFF_BANDS), ("identity", BANDS))
        for band in names
        for row in average(part[bands[by][part.index] == band], **drawn)
    ]
    order = list(values.columns.unique(0))
    tables.write(outputs["bands"], sorted(rows, key=lambda row: order.index(row["experiment"])), BY_BAND, ordered=True)


def _by_chain(path, chains):
    return tables.read(path, key="chain").set_index("chain").loc[chains]


def _json(path):
    return json.loads(Path(path).read_text())


def summary_row(result: Mapping, split: str) -> dict:
    """A row of SUMMARY out of a metrics.json."""
    section = result[split]
    row = {"experiment": result["experiment"], "proteins": section["proteins"]}
    for key, found in section["metrics"].items():
        row |= {key: found["value"], f"{key}_low": found["low"], f"{key}_high": found["high"]}
    return row


def values_by_protein(results: Sequence[Mapping]) -> pd.DataFrame:
    """Chain -> values, NaN where undefined, with columns (experiment, metric of COMPARED, and pairs)."""
    found = {
        result["experiment"]: pd.DataFrame(
            [row for split in SCORED for row in result[split]["by_protein"]], columns=["chain", *COMPARED, "pairs"]
        ).set_index("chain")
        for result in results
    }
    return pd.concat(found, axis=1).astype(float)


def questions(options: Mapping[str, Mapping], sizes: Mapping[str, int]) -> Iterator[tuple[str, str, str]]:
    """(question, first, second) for each two experiments whose options differ in what one question asks for, alone.

    An option differs where its values do, if it has an effect in either of the two. first has the alignment, more
    tasks, more parameters (`sizes`) or the couplings, else it is the later one.
    """
    used = {name: set(effective(own)) for name, own in options.items()}
    pairs = [
        (one, other, {key for key in used[one] | used[other] if options[one][key] != options[other][key]})
        for one, other in combinations(options, 2)
    ]
    for question, (asked, with_them) in QUESTIONS.items():
        for one, other, different in pairs:
            if not (different & asked and different <= asked | with_them):
                continue
            on = {name: {key for key in asked if options[name][key] is True} for name in (one, other)}
            more = {name: sizes[name] if question == "size" else len(on[name]) for name in (one, other)}
            if on[one] <= on[other] or on[other] <= on[one]:  # an exchange of tasks is no question
                yield (question, one, other) if more[one] > more[other] else (question, other, one)


def compare(
    values: pd.DataFrame, asked: Sequence[tuple[str, str, str]], cluster: pd.Series, resamples: int, seed: int
) -> list[dict]:
    """Rows of COMPARISONS, but for split, p_holm and p_least: first less second over the proteins that both have,
    of the same number of pairs: windows that see only near ones are not held against a predictor of all.

    low, high: 95 % bootstrap over clusters; p: Wilcoxon signed-rank test of the clusters' mean differences.
    """
    cells = [(*pair, metric) for pair in asked for metric in COMPARED]
    differences = pd.concat(
        [
            (values[one][key] - values[other][key]).where(values[one]["pairs"] == values[other]["pairs"])
            for _, one, other, key in cells
        ],
        axis=1,
    )
    clusters = cluster[values.index].to_numpy()
    intervals = bootstrap_intervals(differences.to_numpy(), clusters, 0.95, resamples, seed)
    rows = []
    for cell, (_, column), (low, high) in zip(cells, differences.items(), intervals.T, strict=True):
        row, known = dict(zip(("question", "first", "second", "metric"), cell, strict=True)), column.dropna()
        if known.empty:
            continue
        by_cluster = known.groupby(cluster[known.index]).mean()
        row |= {"proteins": len(known), "clusters": len(by_cluster)}
        row |= {
            f"{place}_value": values[row[place], row["metric"]][known.index].mean() for place in ("first", "second")
        }
        row |= {"difference": known.mean(), "low": low, "high": high, "p": wilcoxon(by_cluster.to_numpy())[0]}
        rows.append(row)
    return rows


def adjusted(rows: Sequence[Mapping], asked: Sequence[tuple[str, str, str]]) -> list[dict]:
    """The rows with p_holm, by question as in `asked`: over all metrics and questions of a split, and, apart from them,
    over all metrics and baselines. p_least: what p_holm would be if all clusters of all comparisons spoke for the same
    of the two; where it is not small, a large p_holm says nothing.
    """
    rows = [dict(row) for row in rows]
    families = {}
    for row in rows:
        families.setdefault((row["split"], row["question"] == "baseline"), []).append(row)
    for family in families.values():
        adjust(family, "clusters")
    return sorted(rows, key=lambda row: asked.index((row["question"], row["first"], row["second"])))


def average(values: pd.DataFrame, cluster: pd.Series, resamples: int, seed: int) -> Iterator[dict]:
    """experiment, proteins, and each of COMPARED with its 95 % bootstrap interval over clusters; nothing of nothing."""
    if values.empty:
        return
    intervals = bootstrap_intervals(values.to_numpy(), cluster[values.index].to_numpy(), 0.95, resamples, seed)
    low, high = (pd.Series(end, values.columns) for end in intervals)
    for experiment in values.columns.unique(0):
        row = {"experiment": experiment, "proteins": len(values)}
        for key in COMPARED:
            row |= {key: values[experiment][key].mean()}
            row |= {f"{key}{end}": part[experiment, key] for end, part in (("_low", low), ("_high", high))}
        yield row

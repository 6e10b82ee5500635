"""The paired comparison of arms by target: intervals, tests and the primary endpoint."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hardfold import tables
from hardfold.arms import (
    ALIGNMENT,
    BASELINE,
    FLOOR,
    LEAVE_ONE_OUT,
    MEMORISATION,
    NEAREST,
    OFF_HEADLINE,
    ORACLE,
    PARTIAL,
    SHUFFLED,
    SWAPPED,
    TEST_TIME,
    TRAINED_ALIGNMENT,
)
from hardfold.difficulty import grouped, named, with_hard
from hardfold.pairing import (
    METRICS,
    ComparisonError,
    bands,
    by_seed,
    by_target,
    by_unit,
    every_metric,
    pairings,
    summarise,
    summarise_units,
    whole_chains,
)
from hardfold.statistics import adjust, smallest_p

FEW = 30  # targets of a class below which the comparison says so
REACHED = (0.6, 0.7)  # TM-score
IMPROVED_BY = 0.10  # TM-score

ARM_NOTES = {
    TRAINED_ALIGNMENT: "Arm baseline_alignment is the untouched model reading alignments through the adapter that it "
    "was trained with; no control exchanges its alignments, so its gain is not shown to be the alignments'.",
    MEMORISATION: "Arm memorisation was trained on the targets themselves: it shows whether tuning can change a "
    "prediction, never that it helps.",
    LEAVE_ONE_OUT: "Arm leave_one_out was trained on other targets, those of the other folds; relatives and chains of "
    "one entry, where it is known, share a fold (folding/leave_one_out/folds.tsv).",
    TEST_TIME: "Arm test_time adapts the language model to each target's own sequence; the step is chosen without the "
    "native.",
    ORACLE: "Arm test_time_oracle takes the step with the best TM-score, which only the native tells: what the best "
    "choice of a step could give, and above the baseline by its making.",
    SHUFFLED: "Arm control_shuffled_labels was trained on structures of other chains: what it gains is no knowledge of "
    "how a sequence folds.",
    ALIGNMENT: "Arm disjoint_alignment learns from the chains of disjoint and reads alignments besides: its gain "
    "over disjoint is the alignments' only as far as control_swapped_alignment does not share it.",
    SWAPPED: "Arm control_swapped_alignment is disjoint_alignment given other targets' alignments: what it gains is no "
    "knowledge of the target's relatives.",
    NEAREST: "Arm nearest_training is no model: the nearest training chain's structure, copied through the alignment.",
}


def _cells(paired: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """(arm, group) -> rows, group `all` first."""
    return {(arm, group): rows for arm, part in paired.groupby("arm") for group, rows in grouped(part).items()}


def compare(scores: pd.DataFrame, primary: Mapping, samples: int, seed: int) -> dict:
    """The content of comparison.json. `primary`: arm, class, min_improvement, confidence, as configured."""
    scores = with_hard(scores)
    paired = by_target(scores)
    cells, settings = _cells(paired), (primary["confidence"], samples, seed)
    endpoint = (primary["arm"], primary["class"])
    if endpoint not in cells:
        raise ComparisonError(f"primary: no scores of arm {endpoint[0]}, class {endpoint[1]}")
    secondary = {
        (arm, group): {"arm": arm, "class": group}
        | summarise(part, *settings)
        | {"p_holm": None, "p_least": smallest_p(len(part))}
        for (arm, group), part in cells.items()
    }
    result = secondary[endpoint]
    _adjust_claims(secondary, cells, endpoint)
    units = _cells(by_unit(scores))
    runs = sorted(scores.loc[scores["arm"] == primary["arm"], "seed"].unique())
    chains = whole_chains(scores)
    floor = chains[chains["arm"] == FLOOR]["tm"]
    return {
        "primary": _verdict(result, primary) | {"seeds": by_seed(cells[endpoint], runs)},
        "secondary": [*secondary.values()],
        "units": [
            {"arm": arm, "class": group} | summarise_units(part, *settings) for (arm, group), part in units.items()
        ],
        "metrics": every_metric(scores, *settings),
        "bands": bands(scores, *settings),
        "pairings": pairings(scores, primary["class"], *settings),
        "distribution": _distribution(paired),
        "floor": {"mean": float(floor.mean()) if len(floor) else None, "n": len(floor)},
        "by_target": paired.to_dict("records"),
        "notes": _notes(scores, paired, result),
    }


def _adjust_claims(rows: Mapping, cells: Mapping, endpoint: tuple[str, str]) -> None:
    """Add p_holm to the claims beside the primary endpoint.

    Groups of the same targets are one hypothesis: their rows get the same, and those of the endpoint's targets none.
    """
    tests = {}
    for (arm, group), part in cells.items():
        if arm not in OFF_HEADLINE:
            tests.setdefault((arm, frozenset(part["target"])), []).append(rows[arm, group])
    del tests[endpoint[0], frozenset(cells[endpoint]["target"])]
    adjust([first for first, *_ in tests.values()], "n")
    for first, *twins in tests.values():
        for twin in twins:
            twin |= {key: first[key] for key in ("p_holm", "p_least")}


def _verdict(result: dict, primary: Mapping) -> dict:
    criterion = (
        f"mean TM-score improvement of arm {primary['arm']} over the baseline, {named(primary['class'])}, "
        f"at least {primary['min_improvement']:g}, "
        f"and its {100 * primary['confidence']:g} % bootstrap interval excludes 0"
    )
    met = result["low"] is not None and result["mean"] >= primary["min_improvement"] and result["low"] > 0
    settings = {key: primary[key] for key in ("confidence", "min_improvement")}
    figures = {key: value for key, value in result.items() if key not in ("p_holm", "p_least")}
    return figures | settings | {"criterion": criterion, "met": met}


def _distribution(paired: pd.DataFrame) -> list[dict]:
    """Counts of targets by arm and group, the baseline first."""
    targets = paired.drop_duplicates("target")
    baseline = targets.assign(arm=BASELINE, tm=targets["baseline"], difference=np.nan)
    return [
        {
            "arm": arm,
            "class": group,
            "n": len(rows),
            "mean_tm": float(rows["tm"].mean()),
            "median_tm": float(rows["tm"].median()),
            **{f"reach_{level}": int((rows["tm"] >= level).sum()) for level in REACHED},
            f"improved_by_{IMPROVED_BY:.2f}": None
            if arm == BASELINE
            else int((rows["difference"] >= IMPROVED_BY).sum()),
        }
        for arm, part in [(BASELINE, baseline), *paired.groupby("arm")]
        for group, rows in grouped(part).items()
    ]


def _notes(scores: pd.DataFrame, paired: pd.DataFrame, result: dict) -> list[str]:
    n, arms = result["n"], set(paired["arm"])
    seeds = sorted({len(values) for values in paired["seeds"]})
    targets = scores[(scores["arm"] == BASELINE) & (scores["unit"] == "chain")]
    in_training = int((targets["in_baseline_training_period"] == "yes").sum())
    unknown = int((targets["in_baseline_training_period"] == "").sum())
    notes = [
        f"Primary endpoint: n = {n} targets; an exact two-sided p cannot go below {smallest_p(n):.2g}.",
        f"Wilcoxon signed-rank test of the primary endpoint: {result['p_method']}; differences of 0 are dropped.",
        "Secondary p values are adjusted by Holm's method over all arms and classes but the primary endpoint and arms "
        "that make no claim (train = test, the oracle, controls and yardsticks).",
        f"Values by target are means over seeds ({' or '.join(map(str, seeds))} an arm); intervals draw targets and, "
        "within each sample, the seeds. p is over targets for these very training runs: so few seeds understate how "
        "much another training would differ, in the interval, too.",
    ]
    sizes = paired.drop_duplicates("target")["class"].value_counts().sort_index()
    if sizes.max() < FEW:
        counts = ", ".join(f"{count} {kind}" for kind, count in sizes.items())
        notes.append(f"Few targets a class ({counts}): a claim about a class wants {FEW} or more of it.")
    notes += [note for arm, note in ARM_NOTES.items() if arm in arms]
    for arm in sorted(PARTIAL & set(scores["arm"])):
        count = paired.loc[paired["arm"] == arm, "target"].nunique()
        if count < len(targets):
            notes.append(f"Arm {arm} has scores of {count} of {len(targets)} targets.")
    if in_training or unknown:
        notes.append(
            f"In the baseline's training period: {in_training} of {len(targets)} targets; not known for {unknown}."
        )
    return notes


def leakage(audit: pd.DataFrame) -> dict:
    """How near the targets are to what arm disjoint is tuned on: `targets`, and by value of the audit's columns how
    many of them are in each identity band, share an entry, passed the date barrier.
    """
    targets = audit[audit["split"] == "target"]
    counts = {
        name: targets[name].replace("", "unknown").value_counts().sort_index().to_dict()
        for name in ("band", "same_entry", "date_barrier")
    }
    return {"targets": len(targets), **counts}


def compare_arms(scores: Path, audit: Path, output: Path, *, primary: Mapping, bootstrap: int, seed: int) -> None:
    """Write comparison.json from results/folding/scores.tsv, with `leakage` of results/splits/audit.tsv in it."""
    facts = ["neff", "nearest_training_identity", "in_baseline_training_period"]
    table = tables.read(scores, ["target", "unit", "class", "arm", "seed", *METRICS, *facts])
    table = table.assign(seed=table["seed"].astype(int), **table[METRICS].apply(pd.to_numeric))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a mean of nothing must not pass as a number
        comparison = compare(table, primary, bootstrap, seed)
    barriers = leakage(tables.read(audit, ["split", "band", "same_entry", "date_barrier"]))
    tables.write_json(output, {**comparison, "leakage": barriers})

"""The paired comparison of arms by target: intervals, tests and the primary endpoint."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hardfold import tables
from hardfold.alignment.diversity import NEFF_BANDS, neff_band
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
from hardfold.statistics import adjust, bootstrap_interval, smallest_p, wilcoxon, wilson_interval

FEW = 30  # targets of a class below which the comparison says so
REACHED = (0.6, 0.7)  # TM-score
IMPROVED_BY = 0.10  # TM-score
# Arms compared with each other, first less second: what reading alignments gives, what is left of it with another's
# alignment and what with none, what the right structures give.
PAIRINGS = [
    (ALIGNMENT, "disjoint"),
    (SWAPPED, ALIGNMENT),
    (SWAPPED, "disjoint"),
    ("disjoint", SHUFFLED),
]

ARM_NOTES = {
    TRAINED_ALIGNMENT: "Arm baseline_alignment is the untouched model reading alignments through the adapter that it "
    "was trained with.",
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


class ComparisonError(ValueError):
    """Scores that cannot be compared; the message names the arm, class or target."""


def pair(scores: pd.DataFrame) -> pd.DataFrame:
    """A row a target, unit and arm: target, unit, class, arm, tm, baseline, difference (means over seeds), seeds (TM by
    seed, in their order). Rows without a score are left out.

    ComparisonError unless each arm has the baseline's targets and units (those of arms.PARTIAL may be fewer), and each
    of them the same seeds.
    """
    scored = scores[scores["tm"].notna() & (scores["arm"] != FLOOR)].sort_values(["arm", "target", "unit", "seed"])
    baseline = scored[scored["arm"] == BASELINE].set_index(["target", "unit"])["tm"]
    rows = []
    for arm, part in scored[scored["arm"] != BASELINE].groupby("arm"):
        units = set(zip(part["target"], part["unit"], strict=True))
        if unpaired := units - set(baseline.index) if arm in PARTIAL else units ^ set(baseline.index):
            names = ", ".join(f"{target} ({unit})" for target, unit in sorted(unpaired))
            raise ComparisonError(f"{arm}: {names} not scored in both it and the baseline")
        seeds = sorted(part["seed"].unique())
        for (target, unit, kind), runs in part.groupby(["target", "unit", "class"]):
            if runs["seed"].to_list() != seeds:
                raise ComparisonError(f"{arm}: {target} ({unit}) is not scored once for each seed of {seeds}")
            row = {"target": target, "unit": unit, "class": kind, "arm": arm, "tm": float(runs["tm"].mean())}
            row |= {"baseline": float(baseline[target, unit]), "seeds": runs["tm"].to_list()}
            rows.append(row | {"difference": row["tm"] - row["baseline"]})
    return pd.DataFrame(rows, columns=["target", "unit", "class", "arm", "tm", "baseline", "difference", "seeds"])


def by_target(scores: pd.DataFrame) -> pd.DataFrame:
    """`pair` for whole chains."""
    return pair(scores[scores["unit"] == "chain"]).drop(columns="unit")


def by_unit(scores: pd.DataFrame) -> pd.DataFrame:
    """`pair` for evaluation units: of a target without any, the chain."""
    units = scores[scores["unit"] != "chain"]
    return pair(pd.concat([units, scores[~scores["target"].isin(units["target"])]]))


def differences(paired: pd.DataFrame) -> np.ndarray:
    """(n, seeds): each run's TM-score minus the baseline's."""
    return np.array(paired["seeds"].to_list()) - paired[["baseline"]].to_numpy()


def summarise(paired: pd.DataFrame, confidence: float, samples: int, seed: int) -> dict:
    """Of rows of `pair`, one a target: n, mean and its interval, median, share improved, p, its method, worst three."""
    values = paired["difference"].to_numpy()
    worst = paired.sort_values("difference", kind="stable").head(3)
    p, method = wilcoxon(values)
    return {
        **_spread(paired, confidence, samples, seed),
        "p": p,
        "p_method": method,
        "worst": [
            {"target": target, "difference": float(value)}
            for target, value in zip(worst["target"], worst["difference"], strict=True)
        ],
    }


def summarise_units(paired: pd.DataFrame, confidence: float, samples: int, seed: int) -> dict:
    """The same of evaluation units, n of them, of which `targets` have some: the interval draws whole targets, and no
    p is given, as units of one target are not independent.
    """
    return {**_spread(paired, confidence, samples, seed), "targets": int(paired["target"].nunique())}


def _spread(paired, confidence, samples, seed):
    values = paired["difference"].to_numpy()
    interval = bootstrap_interval(differences(paired), confidence, samples, seed, clusters=paired["target"])
    low, high = interval or (None, None)
    improved = int((values > 0).sum())
    improved_low, improved_high = wilson_interval(improved, len(values), confidence)
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "low": low,
        "high": high,
        "improved": improved / len(values),
        "improved_low": improved_low,
        "improved_high": improved_high,
    }


def pairings(scores: pd.DataFrame, confidence: float, samples: int, seed: int) -> list[dict]:
    """Of each of PAIRINGS whose arms are both scored: `summarise` of the TM-scores of `first` less those of `second`,
    seed by seed, on the chains that both have; over all of them and by `band` of their alignments' Neff. p_holm and
    p_least are over all these rows.
    """
    paired = by_target(scores).set_index("target")
    depths = scores[(scores["arm"] == BASELINE) & (scores["unit"] == "chain")].set_index("target")["neff"]
    bands = pd.to_numeric(depths).dropna().map(neff_band)
    rows = []
    for first, second in PAIRINGS:
        pair = paired[paired["arm"] == first].join(paired[paired["arm"] == second]["seeds"], rsuffix="_second")
        pair = pair.dropna(subset=["seeds_second"]).reset_index()
        pair["seeds"] = [list(np.subtract(*values)) for values in zip(pair["seeds"], pair["seeds_second"], strict=True)]
        pair["difference"], pair["baseline"] = pair["seeds"].map(np.mean), 0.0
        for band in ("all", *NEFF_BANDS):
            part = pair if band == "all" else pair[pair["target"].map(bands) == band]
            if len(part):
                row = {"first": first, "second": second, "band": band}
                rows.append(row | summarise(part, confidence, samples, seed))
    adjust(rows, "n")
    return rows


def _cells(paired: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """(arm, class) -> rows, class `all` first; a unit without a class is of `all` alone."""
    kinds = [kind for kind in sorted(paired["class"].unique()) if kind]
    cells = {
        (arm, kind): part if kind == "all" else part[part["class"] == kind]
        for arm, part in paired.groupby("arm")
        for kind in ["all", *kinds]
    }
    return {key: part for key, part in cells.items() if len(part)}


def compare(scores: pd.DataFrame, primary: Mapping, samples: int, seed: int) -> dict:
    """The content of comparison.json. `primary`: arm, class, min_improvement, confidence, as configured."""
    paired = by_target(scores)
    classes = ["all", *sorted(paired["class"].unique())]
    cells, settings = _cells(paired), (primary["confidence"], samples, seed)
    endpoint = (primary["arm"], primary["class"])
    if endpoint not in cells:
        raise ComparisonError(f"primary: no scores of arm {endpoint[0]}, class {endpoint[1]}")
    secondary = [
        {"arm": arm, "class": kind} | summarise(part, *settings) | {"p_holm": None, "p_least": smallest_p(len(part))}
        for (arm, kind), part in cells.items()
    ]
    result = next(row for row in secondary if (row["arm"], row["class"]) == endpoint)
    claims = [row for row in secondary if row is not result and row["arm"] not in OFF_HEADLINE]
    adjust(claims, "n")
    units = _cells(by_unit(scores))
    floor = scores[(scores["arm"] == FLOOR) & (scores["unit"] == "chain")]["tm"]
    return {
        "primary": _verdict(result, primary),
        "secondary": secondary,
        "units": [
            {"arm": arm, "class": kind} | summarise_units(part, *settings) for (arm, kind), part in units.items()
        ],
        "pairings": pairings(scores, *settings),
        "distribution": _distribution(paired, classes),
        "floor": {"mean": float(floor.mean()) if len(floor) else None, "n": len(floor)},
        "by_target": paired.to_dict("records"),
        "notes": _notes(scores, paired, result),
    }


def _verdict(result: dict, primary: Mapping) -> dict:
    criterion = (
        f"mean TM-score improvement of arm {primary['arm']} over the baseline, targets of class {primary['class']}, "
        f"at least {primary['min_improvement']:g}, and its {primary['confidence']:.0%} bootstrap interval excludes 0"
    )
    met = result["low"] is not None and result["mean"] >= primary["min_improvement"] and result["low"] > 0
    settings = {key: primary[key] for key in ("confidence", "min_improvement")}
    figures = {key: value for key, value in result.items() if key not in ("p_holm", "p_least")}
    return figures | settings | {"criterion": criterion, "met": met}


def _distribution(paired: pd.DataFrame, classes: list[str]) -> list[dict]:
    """Counts of targets by arm and class, the baseline first."""
    targets = paired.drop_duplicates("target")
    baseline = targets.assign(arm=BASELINE, tm=targets["baseline"], difference=np.nan)
    rows = []
    for arm, part in [(BASELINE, baseline), *paired.groupby("arm")]:
        for kind in classes:
            chosen = part if kind == "all" else part[part["class"] == kind]
            if chosen.empty:
                continue
            rows.append(
                {
                    "arm": arm,
                    "class": kind,
                    "n": len(chosen),
                    "mean_tm": float(chosen["tm"].mean()),
                    "median_tm": float(chosen["tm"].median()),
                    **{f"reach_{level}": int((chosen["tm"] >= level).sum()) for level in REACHED},
                    f"improved_by_{IMPROVED_BY:.2f}": None
                    if arm == BASELINE
                    else int((chosen["difference"] >= IMPROVED_BY).sum()),
                }
            )
    return rows


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
        f"Values by target are means over seeds ({', '.join(map(str, seeds))} an arm); intervals draw targets and, "
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
            f"In the baseline's training period: {in_training} targets; not known for {unknown} of {len(targets)}."
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
    table = tables.read(scores, ["target", "unit", "class", "arm", "seed", "tm", "neff", "in_baseline_training_period"])
    table = table.assign(tm=pd.to_numeric(table["tm"]), seed=table["seed"].astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a mean of nothing must not pass as a number
        comparison = compare(table, primary, bootstrap, seed)
    barriers = leakage(tables.read(audit, ["split", "band", "same_entry", "date_barrier"]))
    tables.write_json(output, {**comparison, "leakage": barriers})

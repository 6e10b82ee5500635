"""Intervals, tests, and the paired comparison of arms by target with its primary endpoint."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from hardfold import tables

BASELINE = "baseline"
FLOOR = "random_walk"
FEW = 30  # targets of a class below which the comparison says so
REACHED = (0.6, 0.7)  # TM-score
IMPROVED_BY = 0.10  # TM-score
_DRAWN = 1000  # resamples in memory at a time


class ComparisonError(ValueError):
    """Scores that cannot be compared; the message names the arm, class or target."""


def bootstrap_interval(values: np.ndarray, confidence: float, samples: int, seed: int) -> tuple[float, float] | None:
    """Percentile interval of the mean, values (targets) drawn with replacement; None below two values."""
    low, high = bootstrap_intervals(values[:, None], np.arange(len(values)), confidence, samples, seed)[:, 0]
    return None if np.isnan(low) else (float(low), float(high))


def bootstrap_intervals(
    values: np.ndarray, clusters: Sequence, confidence: float, samples: int, seed: int
) -> np.ndarray:
    """(2, M) ends of the percentile intervals of the means of the columns of `values` (N, M), NaN for what is missing.

    Whole clusters (N,) are drawn with replacement, as many as there are, the same ones for all columns (Davison and
    Hinkley 1997, section 3.8). A column that fewer than two clusters have is NaN.
    """
    names, cluster = np.unique(clusters, return_inverse=True)
    known = ~np.isnan(values)
    sums, counts = (np.zeros((len(names), values.shape[1])) for _ in range(2))
    np.add.at(sums, cluster, np.where(known, values, 0))
    np.add.at(counts, cluster, known)
    intervals, usable = np.full((2, values.shape[1]), np.nan), (counts > 0).sum(0) > 1
    if not usable.any():
        return intervals
    generator, share, means = np.random.default_rng(seed), np.full(len(names), 1 / len(names)), []
    for start in range(0, samples, _DRAWN):
        drawn = generator.multinomial(len(names), share, min(_DRAWN, samples - start)).astype(float)
        with np.errstate(invalid="ignore"):  # where none of those that have the value is drawn
            means.append(drawn @ sums[:, usable] / (drawn @ counts[:, usable]))
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    intervals[:, usable] = np.nanquantile(np.concatenate(means), ends, axis=0)
    return intervals


def wilcoxon(differences: np.ndarray) -> tuple[float, str]:
    """Two-sided p of the signed-rank test, and the method: zeros are dropped (Wilcoxon 1945).

    Exact for up to 50 differences without ties in size, else the normal approximation.
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0, "no difference"
    tied = len(np.unique(np.abs(nonzero))) < len(nonzero)
    method = "approx" if tied or len(nonzero) > 50 else "exact"
    return float(stats.wilcoxon(nonzero, method=method).pvalue), method


def smallest_p(n: int) -> float:
    """The least two-sided p that the exact test can give with n differences: 2 / 2^n."""
    return min(1.0, 2.0 ** (1 - n))


def wilson_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) interval of a fraction."""
    interval = stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def holm(p_values: list[float]) -> list[float]:
    """p adjusted for all tests of the list (Holm 1979)."""
    return multipletests(p_values, method="holm")[1].tolist() if p_values else []


def by_target(scores: pd.DataFrame) -> pd.DataFrame:
    """target, class, arm, tm, baseline, difference, seeds of each adapted arm: unit `chain`, the mean over seeds.

    ComparisonError unless each arm has the same targets as the baseline.
    """
    chains = scores[scores["unit"] == "chain"].sort_values(["arm", "target", "seed"])
    baseline = chains[chains["arm"] == BASELINE].set_index("target")["tm"]
    rows = []
    for arm, part in chains[~chains["arm"].isin([BASELINE, FLOOR])].groupby("arm"):
        if unpaired := set(part["target"]) ^ set(baseline.index):
            raise ComparisonError(f"{arm}: {', '.join(sorted(unpaired))} not scored in both it and the baseline")
        for (target, kind), seeds in part.groupby(["target", "class"])["tm"]:
            mean = float(seeds.mean())
            row = {"target": target, "class": kind, "arm": arm, "tm": mean, "baseline": float(baseline[target])}
            rows.append(row | {"difference": mean - row["baseline"], "seeds": seeds.tolist()})
    return pd.DataFrame(rows, columns=["target", "class", "arm", "tm", "baseline", "difference", "seeds"])


def summarise(differences: pd.Series, confidence: float, samples: int, seed: int) -> dict:
    """Of differences by target: n, mean and its interval, median, p and its method, share improved, worst three."""
    values = differences.to_numpy()
    low, high = bootstrap_interval(values, confidence, samples, seed) or (None, None)
    improved = int((values > 0).sum())
    improved_low, improved_high = wilson_interval(improved, len(values), confidence)
    worst = differences.sort_values(kind="stable").head(3)
    p, method = wilcoxon(values)
    return {
        "n": len(values),
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "low": low,
        "high": high,
        "p": p,
        "p_method": method,
        "improved": improved / len(values),
        "improved_low": improved_low,
        "improved_high": improved_high,
        "worst": [{"target": target, "difference": float(value)} for target, value in worst.items()],
    }


def compare(scores: pd.DataFrame, primary: Mapping, samples: int, seed: int) -> dict:
    """The content of comparison.json. `primary`: arm, class, min_improvement, confidence, as configured."""
    paired = by_target(scores)
    classes = ["all", *sorted(paired["class"].unique())]
    cells = {
        (arm, kind): part if kind == "all" else part[part["class"] == kind]
        for arm, part in paired.groupby("arm")
        for kind in classes
    }
    endpoint = (primary["arm"], primary["class"])
    if endpoint not in cells:
        raise ComparisonError(f"primary: no scores of arm {endpoint[0]}, class {endpoint[1]}")
    secondary = []
    for (arm, kind), part in cells.items():
        differences = part.set_index("target")["difference"]
        secondary.append({"arm": arm, "class": kind} | summarise(differences, primary["confidence"], samples, seed))
    result = next(row for row in secondary if (row["arm"], row["class"]) == endpoint)
    others = [row for row in secondary if row is not result]
    for row, adjusted in zip(others, holm([row["p"] for row in others]), strict=True):
        row["p_holm"] = adjusted
    floor = scores[(scores["arm"] == FLOOR) & (scores["unit"] == "chain")]["tm"]
    return {
        "primary": _verdict(result, primary),
        "secondary": [{**row, "p_holm": row.get("p_holm")} for row in secondary],
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
    return result | settings | {"criterion": criterion, "met": met}


def _distribution(paired: pd.DataFrame, classes: list[str]) -> list[dict]:
    """Counts of targets by arm and class, the baseline first."""
    first = paired[paired["arm"] == paired["arm"].iloc[0]]
    baseline = first.assign(arm=BASELINE, tm=first["baseline"], difference=np.nan)
    rows = []
    for arm, part in [(BASELINE, baseline), *paired.groupby("arm")]:
        for kind in classes:
            chosen = part if kind == "all" else part[part["class"] == kind]
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
    n = result["n"]
    seeds = sorted({len(values) for values in paired["seeds"]})
    targets = scores[(scores["arm"] == BASELINE) & (scores["unit"] == "chain")]
    in_training = int((targets["in_baseline_training_period"] == "yes").sum())
    unknown = int((targets["in_baseline_training_period"] == "").sum())
    notes = [
        f"Primary endpoint: n = {n} targets; an exact two-sided p cannot go below {smallest_p(n):.2g}.",
        f"Wilcoxon signed-rank test of the primary endpoint: {result['p_method']}; differences of 0 are dropped.",
        "Secondary p values are adjusted by Holm's method over all arms and classes but the primary endpoint.",
        f"Values by target are means over seeds ({', '.join(map(str, seeds))} an arm); intervals are over targets.",
    ]
    sizes = paired.drop_duplicates("target")["class"].value_counts().sort_index()
    if sizes.max() < FEW:
        counts = ", ".join(f"{count} {kind}" for kind, count in sizes.items())
        notes.append(f"Few targets a class ({counts}): a claim about a class wants {FEW} or more of it.")
    if "memorisation" in set(paired["arm"]):
        notes.append(
            "Arm memorisation was trained on the targets themselves: it shows whether tuning can change a prediction, "
            "never that it helps."
        )
    if in_training or unknown:
        notes.append(
            f"In the baseline's training period: {in_training} targets; not known for {unknown} of {len(targets)}."
        )
    return notes


def compare_arms(scores: Path, output: Path, *, primary: Mapping, bootstrap: int, seed: int) -> None:
    """Write comparison.json from results/folding/scores.tsv."""
    table = tables.read(scores, ["target", "unit", "class", "arm", "seed", "tm", "in_baseline_training_period"])
    table = table.assign(tm=table["tm"].astype(float), seed=table["seed"].astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # a mean of nothing must not pass as a number
        comparison = compare(table, primary, bootstrap, seed)
    tables.write_json(output, comparison)

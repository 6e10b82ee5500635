"""Scores paired with the baseline's by target or evaluation unit, and what a set of such pairs shows."""

import numpy as np
import pandas as pd

from hardfold.alignment.diversity import NEFF_BANDS, neff_band
from hardfold.arms import ALIGNMENT, BASELINE, FLOOR, PARTIAL, SHUFFLED, SWAPPED
from hardfold.difficulty import grouped
from hardfold.leakage import BANDS, band
from hardfold.statistics import adjust, bootstrap_interval, wilcoxon, wilson_interval

# Arms compared with each other, first less second: what reading alignments gives, what is left of it with another's
# alignment and what with none, what the right structures give.
PAIRINGS = [
    (ALIGNMENT, "disjoint"),
    (SWAPPED, ALIGNMENT),
    (SWAPPED, "disjoint"),
    ("disjoint", SHUFFLED),
]
METRICS = ["tm", "gdt_ts", "lddt", "rmsd"]


class ComparisonError(ValueError):
    """Scores that cannot be compared; the message names the arm, class or target."""


def pair(scores: pd.DataFrame, metric: str = "tm") -> pd.DataFrame:
    """A row a target, unit and arm: target, unit, class, hard, arm, <metric>, baseline, difference (means over seeds),
    seeds (the metric by seed, in their order). `scores` are those of difficulty.with_hard; rows without a score are
    left out.

    ComparisonError unless each arm has the baseline's targets and units (those of arms.PARTIAL may be fewer), and each
    of them the same seeds.
    """
    scored = scores[scores[metric].notna() & (scores["arm"] != FLOOR)].sort_values(["arm", "target", "unit", "seed"])
    baseline = scored[scored["arm"] == BASELINE].set_index(["target", "unit"])[metric]
    rows = []
    for arm, part in scored[scored["arm"] != BASELINE].groupby("arm"):
        units = set(zip(part["target"], part["unit"], strict=True))
        if unpaired := units - set(baseline.index) if arm in PARTIAL else units ^ set(baseline.index):
            names = ", ".join(f"{target} ({unit})" for target, unit in sorted(unpaired))
            raise ComparisonError(f"{arm}: {names} not scored in both it and the baseline")
        seeds = sorted(part["seed"].unique())
        for (target, unit, kind, hard), runs in part.groupby(["target", "unit", "class", "hard"]):
            if runs["seed"].to_list() != seeds:
                raise ComparisonError(f"{arm}: {target} ({unit}) is not scored once for each seed of {seeds}")
            row = {"target": target, "unit": unit, "class": kind, "hard": hard, "arm": arm}
            row |= {metric: float(runs[metric].mean()), "baseline": float(baseline[target, unit])}
            rows.append(row | {"difference": row[metric] - row["baseline"], "seeds": runs[metric].to_list()})
    columns = ["target", "unit", "class", "hard", "arm", metric, "baseline", "difference", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def by_target(scores: pd.DataFrame) -> pd.DataFrame:
    """`pair` for whole chains."""
    return pair(whole_chains(scores)).drop(columns="unit")


def whole_chains(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["unit"] == "chain"]


def by_unit(scores: pd.DataFrame) -> pd.DataFrame:
    """`pair` for evaluation units: of a target without any, the chain."""
    return pair(evaluation_units(scores))


def evaluation_units(scores: pd.DataFrame) -> pd.DataFrame:
    units = scores[scores["unit"] != "chain"]
    return pd.concat([units, scores[~scores["target"].isin(units["target"])]])


def differences(paired: pd.DataFrame) -> np.ndarray:
    """(n, seeds): each run's score minus the baseline's."""
    return np.array(paired["seeds"].to_list()) - paired[["baseline"]].to_numpy()


def summarise(paired: pd.DataFrame, confidence: float, samples: int, seed: int) -> dict:
    """Of rows of `pair`, one a target: n, mean and its interval, median, share improved, p, its method, worst three."""
    values = paired["difference"].to_numpy()
    worst = paired.sort_values("difference", kind="stable").head(3)
    p, method = wilcoxon(values)
    return {
        **spread(paired, confidence, samples, seed),
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
    return {**spread(paired, confidence, samples, seed), "targets": int(paired["target"].nunique())}


def spread(paired: pd.DataFrame, confidence: float, samples: int, seed: int) -> dict:
    """Of rows of `pair`: n, mean with an interval that draws whole targets, median, share improved with its own."""
    values = paired["difference"].to_numpy()
    improved = int((values > 0).sum())
    improved_low, improved_high = wilson_interval(improved, len(values), confidence)
    return {
        **_mean(paired, confidence, samples, seed),
        "median": float(np.median(values)),
        "improved": improved / len(values),
        "improved_low": improved_low,
        "improved_high": improved_high,
    }


def _mean(paired, confidence, samples, seed):
    interval = bootstrap_interval(differences(paired), confidence, samples, seed, clusters=paired["target"])
    low, high = interval or (None, None)
    return {"n": len(paired), "mean": float(paired["difference"].mean()), "low": low, "high": high}


def by_seed(paired: pd.DataFrame, seeds: list[int]) -> list[dict]:
    """Of rows of `pair`, one a target and all of one arm: each seed's mean difference."""
    means = differences(paired).mean(axis=0).tolist()
    return [{"seed": int(seed), "n": len(paired), "mean": mean} for seed, mean in zip(seeds, means, strict=True)]


def every_metric(scores: pd.DataFrame, confidence: float, samples: int, seed: int) -> list[dict]:
    """Of each arm by `level` (chain, unit) and `metric`: `baseline` and `value`, means over its n chains or units, and
    the mean difference with its interval, which draws whole targets.
    """
    rows = []
    for level, table in (("chain", whole_chains(scores)), ("unit", evaluation_units(scores))):
        for metric in METRICS:
            for arm, part in pair(table, metric).groupby("arm"):
                row = {"arm": arm, "level": level, "metric": metric, "targets": int(part["target"].nunique())}
                row |= {"baseline": float(part["baseline"].mean()), "value": float(part[metric].mean())}
                rows.append(row | _mean(part, confidence, samples, seed))
    return rows


def bands(scores: pd.DataFrame, confidence: float, samples: int, seed: int) -> list[dict]:
    """Of each arm over chains `by` `identity` to the nearest training chain that was kept, in its bands, and by whether
    the baseline's training `period` covers them: means of the baseline and the arm, and the difference's `spread`.
    No p: nothing is claimed of a band.
    """
    paired = by_target(scores)
    chains = whole_chains(scores[scores["arm"] == BASELINE]).set_index("target")
    kinds = {
        "identity": (pd.to_numeric(chains["nearest_training_identity"]).map(band), BANDS),
        "period": (chains["in_baseline_training_period"].replace("", "not known"), ["yes", "no", "not known"]),
    }
    rows = []
    for by, (groups, order) in kinds.items():
        for arm, part in paired.groupby("arm"):
            for name in order:
                inside = part[part["target"].map(groups) == name]
                if len(inside):
                    row = {"arm": arm, "by": by, "band": name, "baseline": float(inside["baseline"].mean())}
                    row |= {"tm": float(inside["tm"].mean())}
                    rows.append(row | spread(inside, confidence, samples, seed))
    return rows


def pairings(scores: pd.DataFrame, group: str, confidence: float, samples: int, seed: int) -> list[dict]:
    """Of each of PAIRINGS whose arms are both scored: `summarise` of the TM-scores of `first` less those of `second`,
    seed by seed, on the chains that both have; by `band`: all of them, those of the primary endpoint's `group` where
    they are fewer, and by their alignments' Neff. p_holm and p_least are over all these rows.
    """
    paired = by_target(scores).set_index("target")
    depths = whole_chains(scores[scores["arm"] == BASELINE]).set_index("target")["neff"]
    depths = pd.to_numeric(depths).dropna().map(neff_band)
    rows = []
    for first, second in PAIRINGS:
        both = paired[paired["arm"] == first].join(paired[paired["arm"] == second]["seeds"], rsuffix="_second")
        both = both.dropna(subset=["seeds_second"]).reset_index()
        both["seeds"] = [list(np.subtract(*values)) for values in zip(both["seeds"], both["seeds_second"], strict=True)]
        both["difference"], both["baseline"] = both["seeds"].map(np.mean), 0.0
        parts = {"all": both} | {name: both[both["target"].map(depths) == name] for name in NEFF_BANDS}
        inside = grouped(both).get(group, both)
        if len(inside) < len(both):
            parts = {"all": both, group: inside} | parts
        for name, part in parts.items():
            if len(part):
                row = {"first": first, "second": second, "band": name}
                rows.append(row | summarise(part, confidence, samples, seed))
    adjust(rows, "n")
    return rows

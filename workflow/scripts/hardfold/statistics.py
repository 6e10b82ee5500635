"""Intervals and tests of paired differences: bootstrap with clusters and seeds, exact Wilcoxon, Wilson, Holm."""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

FEWEST = 6  # clusters: of fewer, resampling shows little more than the values themselves
WILCOXON_EFFICIENCY = 3 / np.pi  # of the signed-rank test against the paired t test, normal differences (Pitman 1948)
_DRAWN = 1000  # resamples in memory at a time


def bootstrap_interval(
    values: np.ndarray, confidence: float, samples: int, seed: int, clusters: Sequence | None = None
) -> tuple[float, float] | None:
    """`bootstrap_intervals` of values (N,) or, by seed, (N, S), by default each a cluster; None below two clusters."""
    values = np.asarray(values, dtype=float)
    columns = values.reshape(len(values), 1, *values.shape[1:])
    clusters = range(len(values)) if clusters is None else clusters
    low, high = bootstrap_intervals(columns, clusters, confidence, samples, seed, fewest=2)[:, 0].tolist()
    return None if np.isnan(low) else (low, high)


def bootstrap_intervals(
    values: np.ndarray, clusters: Sequence, confidence: float, samples: int, seed: int, fewest: int = FEWEST
) -> np.ndarray:
    """(2, M) ends of the percentile intervals of the means of the columns of `values` (N, M) or, by seed, (N, M, S),
    NaN for what is missing.

    Whole clusters (N,) are drawn with replacement, as many as there are, the same ones for all columns (Davison and
    Hinkley 1997, section 3.8). A column that fewer than `fewest` clusters have is NaN. Seeds are an inner level: each
    sample draws them with replacement, too. A seed is one training run, in which all rows share, so one draw holds for
    the whole sample (the pigeonhole bootstrap; Owen 2007).
    """
    names, cluster = np.unique(clusters, return_inverse=True)
    values = values[..., None] if values.ndim == 2 else values
    known = ~np.isnan(values).any(axis=2)
    sums, counts = np.zeros((len(names), *values.shape[1:])), np.zeros((len(names), values.shape[1]))
    np.add.at(sums, cluster, np.where(known[..., None], values, 0))
    np.add.at(counts, cluster, known)
    intervals, usable = np.full((2, values.shape[1]), np.nan), (counts > 0).sum(0) >= fewest
    if not usable.any():
        return intervals
    sums, counts, seeds = sums[:, usable], counts[:, usable], values.shape[2]
    generator, share, means = np.random.default_rng(seed), np.full(len(names), 1 / len(names)), []
    for start in range(0, samples, _DRAWN):
        size = min(_DRAWN, samples - start)
        drawn = generator.multinomial(len(names), share, size).astype(float)
        runs = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size) / seeds
        with np.errstate(invalid="ignore"):  # where none of those that have the value is drawn
            means.append((np.tensordot(drawn, sums, 1) * runs[:, None]).sum(axis=2) / (drawn @ counts))
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    intervals[:, usable] = np.nanquantile(np.concatenate(means), ends, axis=0)
    return intervals


def wilcoxon(differences: np.ndarray) -> tuple[float, str]:
    """Two-sided p of the signed-rank test, and the method: zeros are dropped (Wilcoxon 1945).

    Exact unless differences are tied in size: then the normal approximation.
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0, "no difference"
    method = "approx" if len(np.unique(np.abs(nonzero))) < len(nonzero) else "exact"
    return float(stats.wilcoxon(nonzero, method=method).pvalue), method


def smallest_p(n: int, tests: int = 1) -> float:
    """The least two-sided p that the exact test can give with n differences, 2 / 2^n, or after Holm's method where it
    is one of so many tests.
    """
    return min(1.0, tests * 2.0 ** (1 - n))


def wilson_interval(count: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson (1927) interval of a fraction."""
    interval = stats.binomtest(count, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def adjust(family: list[dict], size: str) -> None:
    """Add to the rows of one family p_holm, and p_least: what it would be if all differences of all rows went one way;
    row[size] is how many a row has.
    """
    for row, adjusted in zip(family, holm([row["p"] for row in family]), strict=True):
        row |= {"p_holm": adjusted, "p_least": smallest_p(row[size], len(family))}


def holm(p_values: list[float]) -> list[float]:
    """p adjusted for all tests of the list (Holm 1979)."""
    return multipletests(p_values, method="holm")[1].tolist() if p_values else []


def wilcoxon_power(effect: float, deviation: float, n: int, level: float = 0.05) -> float:
    """How likely the two-sided signed-rank test of n differences with this standard deviation is to find a mean of
    `effect`: the paired t test's power with n * 3 / pi differences (asymptotic relative efficiency, normal data).
    """
    pairs = n * WILCOXON_EFFICIENCY
    standardised = min(abs(effect) / deviation, 20 / np.sqrt(pairs))  # beyond it the power is 1, and scipy's is NaN
    return float(TTestPower().power(standardised, pairs, level))


def detectable_effect(deviation: float, n: int, power: float = 0.8, level: float = 0.05) -> float:
    """The mean that `wilcoxon_power` gives this power."""
    solved = TTestPower().solve_power(nobs=n * WILCOXON_EFFICIENCY, alpha=level, power=power)
    return float(solved * deviation)

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
    """Percentile interval of the mean of values (n,) or, by seed, (n, seeds); None below two clusters.

    Rows are drawn with replacement, all rows of a cluster together (by default each is its own); seeds are an inner
    level: each sample draws them with replacement, too. A seed is one training run, in which all targets share, so one
    draw holds for the whole sample (the pigeonhole bootstrap; Owen 2007).
    """
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    member = np.unique(np.arange(len(values)) if clusters is None else clusters, return_inverse=True)[1]
    groups, seeds = int(member.max(initial=-1)) + 1, values.shape[1]
    if groups < 2:
        return None
    generator = np.random.default_rng(seed)
    rows = generator.multinomial(groups, np.full(groups, 1 / groups), samples)[:, member]  # (samples, n), how often
    runs = generator.multinomial(seeds, np.full(seeds, 1 / seeds), samples) / seeds
    means = (rows @ values * runs).sum(axis=1) / rows.sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_intervals(
    values: np.ndarray, clusters: Sequence, confidence: float, samples: int, seed: int
) -> np.ndarray:
    """(2, M) ends of the percentile intervals of the means of the columns of `values` (N, M), NaN for what is missing.

    Whole clusters (N,) are drawn with replacement, as many as there are, the same ones for all columns (Davison and
    Hinkley 1997, section 3.8). A column that fewer than FEWEST clusters have is NaN.
    """
    names, cluster = np.unique(clusters, return_inverse=True)
    known = ~np.isnan(values)
    sums, counts = (np.zeros((len(names), values.shape[1])) for _ in range(2))
    np.add.at(sums, cluster, np.where(known, values, 0))
    np.add.at(counts, cluster, known)
    intervals, usable = np.full((2, values.shape[1]), np.nan), (counts > 0).sum(0) >= FEWEST
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

    Exact unless differences are tied in size: then the normal approximation.
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0, "no difference"
    method = "approx" if len(np.unique(np.abs(nonzero))) < len(nonzero) else "exact"
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

import numpy as np
import pytest
from scipy.stats import bootstrap, wilcoxon

from hardfold import statistics


def test_exact_p_of_five_gains_is_one_in_sixteen():
    gains = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
    assert statistics.wilcoxon(gains) == (0.0625, "exact")
    assert statistics.smallest_p(5) == 0.0625
    assert statistics.wilcoxon(np.append(gains, [0.0, 0.0])) == (0.0625, "exact")
    assert statistics.wilcoxon(np.zeros(4)) == (1.0, "no difference")


def test_ties_are_no_exact_test():
    assert statistics.wilcoxon(np.array([0.1, 0.1, -0.2, 0.3]))[1] == "approx"


def test_wilson_interval_of_eight_in_ten():
    assert statistics.wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []


# Textbook values: scipy's and R's documentation (paired plants of Fisher 1935; p.adjust), Newcombe 1998 (table I).
def test_published_answers():
    plants = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75])
    assert statistics.wilcoxon(plants) == (pytest.approx(0.041259765625), "exact")
    assert statistics.wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert statistics.wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert statistics.holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_the_test_stays_exact_above_fifty_differences():
    gains = np.arange(1, 69) * np.where(np.arange(68) % 3, 0.001, -0.001)
    p, method = statistics.wilcoxon(gains)
    assert method == "exact"
    assert p == pytest.approx(wilcoxon(gains, method="approx").pvalue, rel=0.05)
    assert p != wilcoxon(gains, method="approx").pvalue


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(size=400)
    low, high = statistics.bootstrap_interval(values, 0.95, 2000, 1)
    assert (low, high) == pytest.approx((values.mean() - 1.96 / 20, values.mean() + 1.96 / 20), abs=0.02)
    assert (low, high) == statistics.bootstrap_interval(values, 0.95, 2000, 1)
    assert statistics.bootstrap_interval(np.full(5, 0.5), 0.95, 100, 1) == (0.5, 0.5)
    assert statistics.bootstrap_interval(np.array([0.5]), 0.95, 100, 1) is None
    assert statistics.bootstrap_interval(np.array([]), 0.95, 100, 1) is None


def test_the_bootstrap_of_two_values_by_hand():
    # Means 0, 1/2 and 1 with chances 1/4, 1/2 and 1/4.
    values = np.array([0.0, 1.0])
    assert statistics.bootstrap_interval(values, 0.40, 20000, 1) == (0.5, 0.5)
    assert statistics.bootstrap_interval(values, 0.60, 20000, 1) == (0.0, 1.0)


def test_the_bootstrap_of_one_seed_is_scipys():
    values = np.random.default_rng(3).gamma(1.0, size=30)
    theirs = bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=1).confidence_interval
    assert statistics.bootstrap_interval(values, 0.95, 20000, 1) == pytest.approx(tuple(theirs), abs=0.02)


def test_seeds_are_drawn_within_each_sample():
    # All targets gain 0 under one seed and 1 under the other: two runs, whatever the number of targets.
    values = np.tile([0.0, 1.0], (50, 1))
    assert statistics.bootstrap_interval(values, 0.95, 2000, 1) == (0.0, 1.0)
    assert statistics.bootstrap_interval(values.mean(axis=1), 0.95, 2000, 1) == (0.5, 0.5)


def test_units_of_a_target_are_drawn_together():
    values = np.array([0.0] * 20 + [1.0] * 20)
    assert statistics.bootstrap_interval(values, 0.95, 2000, 1, clusters=["T1"] * 20 + ["T2"] * 20) == (0.0, 1.0)
    low, high = statistics.bootstrap_interval(values, 0.95, 2000, 1)
    assert 0.3 < low < high < 0.7
    assert statistics.bootstrap_interval(values, 0.95, 2000, 1, clusters=["T1"] * 40) is None


def columns(seed, size=40):
    return np.random.default_rng(seed).normal(size=(size, 3))


def test_single_clusters_are_the_plain_bootstrap_of_scipy():
    values = columns(0)
    ours = statistics.bootstrap_intervals(values, np.arange(len(values)), 0.9, 10_000, 1)
    for column, interval in zip(values.T, ours.T, strict=True):
        expected = bootstrap((column,), np.mean, n_resamples=10_000, confidence_level=0.9, method="percentile")
        assert tuple(interval) == pytest.approx(tuple(expected.confidence_interval), abs=0.02)


def test_clusters_whose_members_agree_widen_the_interval():
    clusters = np.repeat(np.arange(10), 4)
    alike = np.repeat(columns(1, size=10), 4, axis=0) + 0.01 * columns(2)
    naive = np.ptp(statistics.bootstrap_intervals(alike, np.arange(40), 0.95, 4000, 1), axis=0)
    whole = np.ptp(statistics.bootstrap_intervals(alike, clusters, 0.95, 4000, 1), axis=0)
    assert (whole > 1.6 * naive).all()  # ten values, not forty: twice as wide
    # Of one value a cluster it is the same resampling.
    once = statistics.bootstrap_intervals(alike[::4], np.arange(10), 0.95, 4000, 1)
    assert np.ptp(once, axis=0) == pytest.approx(whole, abs=0.02)


def test_clusters_of_different_size_count_by_their_members():
    values, clusters = np.array([[0.0], [0.0], [0.0], [1.0]]), ["a", "a", "a", "b"]
    # The draws are aa, ab, ba, bb: means 0, 1/4, 1/4 and 1.
    assert statistics.bootstrap_intervals(values, clusters, 0.4, 1000, 1, fewest=2)[:, 0].tolist() == [0.25, 0.25]
    assert statistics.bootstrap_intervals(values, clusters, 0.9, 1000, 1, fewest=2)[:, 0].tolist() == [0, 1]


def test_values_that_are_missing_leave_the_others_alone():
    values = columns(3)
    values[:30, 1], values[1:, 2] = np.nan, np.nan
    found = statistics.bootstrap_intervals(values, np.arange(40), 0.95, 2500, 1)
    alone = statistics.bootstrap_intervals(values[:, :1], np.arange(40), 0.95, 2500, 1)
    assert found[:, :1] == pytest.approx(alone)
    low, high = statistics.bootstrap_interval(values[30:, 1], 0.95, 2500, 1)
    assert found[:, 1] == pytest.approx([low, high], abs=0.15)
    assert np.isnan(found[:, 2]).all()
    assert statistics.bootstrap_intervals(np.empty((0, 2)), [], 0.95, 100, 1).shape == (2, 2)


def test_few_clusters_have_no_interval():
    values = columns(5, size=statistics.FEWEST)
    assert np.isfinite(statistics.bootstrap_intervals(values, range(len(values)), 0.95, 100, 1)).all()
    assert np.isnan(statistics.bootstrap_intervals(values[1:], range(len(values) - 1), 0.95, 100, 1)).all()


def test_power_is_that_of_simulated_tests():
    generator = np.random.default_rng(0)
    for n, effect in ((18, 0.04), (30, 0.02)):
        drawn = generator.normal(effect, 0.06, (2000, n))
        found = np.mean(wilcoxon(drawn, axis=1, method="approx").pvalue < 0.05)
        assert statistics.wilcoxon_power(effect, 0.06, n) == pytest.approx(found, abs=0.03)
        assert statistics.wilcoxon_power(-effect, 0.06, n) == statistics.wilcoxon_power(effect, 0.06, n)
    assert statistics.wilcoxon_power(1.0, 0.001, 43) == pytest.approx(1)
    least = statistics.detectable_effect(0.06, 30)
    assert statistics.wilcoxon_power(least, 0.06, 30) == pytest.approx(0.8, abs=1e-6)

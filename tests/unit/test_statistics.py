import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from hardfold import statistics

PRIMARY = {"arm": "disjoint", "class": "all", "min_improvement": 0.05, "confidence": 0.95}


def scores(gains, baseline=0.4, seeds=(1, 2)):
    """Rows of scores.tsv: `gains` maps arm -> difference by target; even targets are hard, odd ones deep."""
    rows = []
    for arm, differences in {"baseline": [0.0] * len(next(iter(gains.values()))), **gains}.items():
        for number, difference in enumerate(differences):
            for seed in (0,) if arm == "baseline" else seeds:
                tilt = 0.02 * (seed - 1.5) if arm != "baseline" else 0.0
                kind = "deep" if number % 2 else "hard"
                row = {"target": f"T{number:02d}", "unit": "chain", "class": kind, "arm": arm, "seed": seed}
                rows.append(row | {"tm": baseline + difference + tilt, "in_baseline_training_period": ""})
    return pd.DataFrame(rows)


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


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(size=400)
    low, high = statistics.bootstrap_interval(values, 0.95, 2000, 1)
    assert (low, high) == pytest.approx((values.mean() - 1.96 / 20, values.mean() + 1.96 / 20), abs=0.02)
    assert (low, high) == statistics.bootstrap_interval(values, 0.95, 2000, 1)
    assert statistics.bootstrap_interval(np.full(5, 0.5), 0.95, 100, 1) == (0.5, 0.5)
    assert statistics.bootstrap_interval(np.array([0.5]), 0.95, 100, 1) is None


def test_values_by_target_are_means_over_seeds():
    table = statistics.by_target(scores({"disjoint": [0.1, 0.2]}))
    assert table["difference"].to_list() == pytest.approx([0.1, 0.2])
    assert table["seeds"][0] == pytest.approx([0.49, 0.51])


def test_units_other_than_the_chain_do_not_enter():
    table = scores({"disjoint": [0.1, 0.2]})
    table = pd.concat([table, table.assign(unit="D1", tm=0.9)])
    assert statistics.by_target(table)["tm"].to_list() == pytest.approx([0.5, 0.6])


def test_a_target_missing_from_an_arm_is_named():
    table = scores({"disjoint": [0.1, 0.2]})
    with pytest.raises(statistics.ComparisonError, match=r"disjoint: T01"):
        statistics.by_target(table[~((table["arm"] == "disjoint") & (table["target"] == "T01"))])


@pytest.mark.parametrize(
    ("gains", "met"),
    [
        ([0.06, 0.08, 0.07, 0.09, 0.06, 0.08], True),
        ([0.02, 0.03, 0.02, 0.03, 0.02, 0.03], False),  # certain, but small
        ([0.9, -0.1, -0.1, -0.1, -0.1, -0.1], False),  # large, but uncertain
        ([-0.1, -0.2, -0.1, -0.2, -0.1, -0.2], False),
    ],
)
def test_the_criterion_needs_both_size_and_certainty(gains, met):
    primary = statistics.compare(scores({"disjoint": gains}), PRIMARY, 500, 1)["primary"]
    assert primary["met"] is met
    assert "0.05" in primary["criterion"] and "95%" in primary["criterion"]


def test_one_target_meets_nothing():
    primary = statistics.compare(scores({"disjoint": [0.5]}), PRIMARY, 500, 1)["primary"]
    assert (primary["low"], primary["high"], primary["met"]) == (None, None, False)


def test_memorisation_is_secondary_and_adjusted():
    gains = {"disjoint": [0.01, -0.02, 0.03, 0.04], "memorisation": [0.31, 0.32, 0.33, 0.34]}
    comparison = statistics.compare(scores(gains), PRIMARY, 500, 1)
    assert comparison["primary"]["arm"] == "disjoint"
    cells = {(row["arm"], row["class"]): row for row in comparison["secondary"]}
    assert set(cells) == {(arm, kind) for arm in gains for kind in ("all", "deep", "hard")}
    assert cells["disjoint", "all"]["p_holm"] is None
    assert cells["memorisation", "all"]["p_holm"] == pytest.approx(min(1, 5 * 0.125))
    assert cells["disjoint", "all"]["worst"][0] == {"target": "T01", "difference": pytest.approx(-0.02)}
    assert cells["disjoint", "all"]["improved"] == 0.75
    assert any("memorisation" in note for note in comparison["notes"])
    assert any("0.12" in note for note in comparison["notes"])  # 2 / 2^4 = 0.125


def test_distribution_counts_targets():
    rows = statistics.compare(scores({"disjoint": [0.2, 0.3, 0.35, 0.05]}), PRIMARY, 500, 1)["distribution"]
    cells = {(row["arm"], row["class"]): row for row in rows}
    assert cells["baseline", "all"]["reach_0.6"] == 0
    assert cells["baseline", "all"]["improved_by_0.10"] is None
    assert cells["disjoint", "all"]["reach_0.6"] == 3
    assert cells["disjoint", "all"]["reach_0.7"] == 2
    assert cells["disjoint", "all"]["improved_by_0.10"] == 3
    assert cells["disjoint", "deep"]["n"] == 2


def test_an_endpoint_without_scores_is_refused():
    with pytest.raises(statistics.ComparisonError, match="class FM"):
        statistics.compare(scores({"disjoint": [0.1, 0.2]}), PRIMARY | {"class": "FM"}, 500, 1)


def test_the_file_is_plain_json_and_always_the_same(tmp_path):
    table = scores({"disjoint": [0.1, 0.2, -0.05], "memorisation": [0.4, 0.3, 0.2]})
    floor = table[table["arm"] == "baseline"].assign(arm="random_walk", tm=0.17)
    pd.concat([table, floor]).to_csv(tmp_path / "scores.tsv", sep="\t", index=False)
    for name in ("a.json", "b.json"):
        statistics.compare_arms(tmp_path / "scores.tsv", tmp_path / name, primary=PRIMARY, bootstrap=200, seed=3)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    comparison = json.loads((tmp_path / "a.json").read_text())
    assert comparison["floor"] == {"mean": pytest.approx(0.17), "n": 3}
    assert {row["arm"] for row in comparison["by_target"]} == {"disjoint", "memorisation"}


def columns(seed, size=40):
    return np.random.default_rng(seed).normal(size=(size, 3))


def test_single_clusters_are_the_plain_bootstrap_of_scipy():
    values = columns(0)
    ours = statistics.bootstrap_intervals(values, np.arange(len(values)), 0.9, 10_000, 1)
    for column, interval in zip(values.T, ours.T, strict=True):
        expected = stats.bootstrap((column,), np.mean, n_resamples=10_000, confidence_level=0.9, method="percentile")
        assert tuple(interval) == pytest.approx(tuple(expected.confidence_interval), abs=0.02)
        assert tuple(interval) == pytest.approx(statistics.bootstrap_interval(column, 0.9, 10_000, 1), abs=0.02)


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
    assert statistics.bootstrap_intervals(values, clusters, 0.4, 1000, 1)[:, 0].tolist() == [0.25, 0.25]
    assert statistics.bootstrap_intervals(values, clusters, 0.9, 1000, 1)[:, 0].tolist() == [0, 1]


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

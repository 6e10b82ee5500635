import json

import numpy as np
import pandas as pd
import pytest

from hardfold import comparison, pairing
from hardfold.arms import OFF_HEADLINE
from hardfold.difficulty import with_hard
from hardfold.statistics import holm

PRIMARY = {"arm": "disjoint", "class": "all", "min_improvement": 0.05, "confidence": 0.95}


def scores(gains, baseline=0.4, seeds=(1, 2)):
    """Rows of scores.tsv: `gains` maps arm -> difference by target; even targets are hard, odd ones deep (Neff 50)."""
    rows = []
    for arm, differences in {"baseline": [0.0] * len(next(iter(gains.values()))), **gains}.items():
        for number, difference in enumerate(differences):
            for seed in (0,) if arm == "baseline" else seeds:
                tilt = 0.02 * (seed - 1.5) if arm != "baseline" else 0.0
                kind = "deep" if number % 2 else "hard"
                row = {"target": f"T{number:02d}", "unit": "chain", "class": kind, "arm": arm, "seed": seed}
                row |= {"neff": 50.0 if number % 2 else 5.0}
                rows.append(row | {"tm": baseline + difference + tilt, "in_baseline_training_period": ""})
    return with_hard(pd.DataFrame(rows).assign(nearest_training_identity=None, gdt_ts=0.5, lddt=0.4, rmsd=9.0))


def test_values_by_target_are_means_over_seeds():
    table = pairing.by_target(scores({"disjoint": [0.1, 0.2]}))
    assert table["difference"].to_list() == pytest.approx([0.1, 0.2])
    assert table["seeds"][0] == pytest.approx([0.49, 0.51])


def test_units_other_than_the_chain_do_not_enter():
    table = scores({"disjoint": [0.1, 0.2]})
    table = pd.concat([table, table.assign(unit="D1", tm=0.9)])
    assert pairing.by_target(table)["tm"].to_list() == pytest.approx([0.5, 0.6])


def test_a_target_missing_from_an_arm_is_named():
    table = scores({"disjoint": [0.1, 0.2]})
    with pytest.raises(comparison.ComparisonError, match=r"disjoint: T01 \(chain\) not scored"):
        pairing.by_target(table[~((table["arm"] == "disjoint") & (table["target"] == "T01"))])
    with pytest.raises(comparison.ComparisonError, match=r"disjoint: T01 \(chain\) is not scored once for each seed"):
        lost = (table["arm"] == "disjoint") & (table["target"] == "T01") & (table["seed"] == 2)
        pairing.by_target(table[~lost])


def test_arms_that_stay_out_of_the_family_are_those_that_make_no_claim():
    gains = {
        arm: [0.01, -0.02, 0.03, 0.04]
        for arm in ("disjoint", "leave_one_out", "test_time", *sorted(OFF_HEADLINE - {"random_walk"}))
    }
    rows = comparison.compare(scores(gains), PRIMARY, 500, 1)["secondary"]
    adjusted = {(row["arm"], row["class"]) for row in rows if row["p_holm"] is not None}
    claims = {(arm, kind) for arm in ("disjoint", "leave_one_out", "test_time") for kind in ("all", "deep", "hard")}
    assert adjusted == claims - {("disjoint", "all")}


def test_arms_are_paired_with_each_other_by_seed_and_by_depth():
    gains = {
        "disjoint": [0.01, 0.02, 0.03, 0.04],
        "disjoint_alignment": [0.01, 0.12, 0.03, 0.24],  # helps where the alignment is deep
        "control_swapped_alignment": [0.0, 0.02, 0.0, 0.04],
    }
    every = pairing.pairings(scores(gains), "all", 0.95, 500, 1)
    plain = {
        row["band"]: row for row in every if (row["first"], row["second"]) == ("control_swapped_alignment", "disjoint")
    }
    assert plain["all"]["mean"] == pytest.approx(-0.01)
    rows = {(row["first"], row["band"]): row for row in every if row not in plain.values()}
    assert [band for first, band in rows if first == "disjoint_alignment"] == ["all", "<10", "30-100"]
    assert not any(first == "disjoint" for first, _ in rows)  # its rival was not run
    deep, shallow = rows["disjoint_alignment", "30-100"], rows["disjoint_alignment", "<10"]
    assert (deep["n"], deep["mean"]) == (2, pytest.approx(0.15))
    assert (shallow["mean"], shallow["low"], shallow["high"]) == (0, 0, 0)  # the seeds' tilt is the same in both arms
    whole = rows["disjoint_alignment", "all"]
    assert (whole["n"], whole["second"], whole["improved"]) == (4, "disjoint", 0.5)
    assert rows["control_swapped_alignment", "all"]["mean"] == pytest.approx(-0.085)
    assert all(row["p_holm"] >= row["p"] for row in rows.values())
    assert comparison.compare(scores(gains), PRIMARY, 500, 1)["pairings"] == every


def test_arms_are_paired_on_the_targets_of_the_primary_endpoint_too():
    gains = {"disjoint": [0.05, 0.01, 0.05, 0.02], "control_shuffled_labels": [0.0, 0.04, 0.0, 0.05]}
    table = scores(gains, seeds=(1,))
    table["class"] = table["target"].map({"T00": "TBM-easy", "T01": "FM", "T02": "TBM-easy", "T03": "FM"})
    rows = comparison.compare(table, PRIMARY | {"class": "hard"}, 500, 1)["pairings"]
    means = {row["band"]: (row["n"], row["mean"]) for row in rows}
    assert means["all"] == (4, pytest.approx(0.01)) and means["hard"] == (2, pytest.approx(-0.03))


def test_groups_of_the_same_targets_are_one_hypothesis():
    gains = {"disjoint": [0.1, 0.2, 0.3, 0.4], "leave_one_out": [0.1, -0.2, 0.3, 0.2], "test_time": [0, 0.1, -0.1, 0.2]}
    table = scores(gains, seeds=(1,)).assign(**{"class": "FM"})
    rows = comparison.compare(table, PRIMARY | {"class": "hard"}, 500, 1)["secondary"]
    adjusted = {(row["arm"], row["class"]): row["p_holm"] for row in rows}
    for group in ("all", "hard", "FM"):
        assert adjusted["disjoint", group] is None  # the primary endpoint, by other names
        assert adjusted["leave_one_out", group] == adjusted["leave_one_out", "all"]
    expected = holm([row["p"] for row in rows if row["class"] == "all" and row["arm"] != "disjoint"])
    assert [adjusted["leave_one_out", "all"], adjusted["test_time", "all"]] == pytest.approx(expected)


def test_an_arm_of_some_targets_is_compared_on_them_and_says_so():
    table = scores({"disjoint": [0.1, 0.2, 0.3, 0.4], "nearest_training": [0.2, 0.1, 0.3, 0.3]}, seeds=(0,))
    none_near = (table["arm"] == "nearest_training") & table["target"].isin(["T01", "T03"])
    result = comparison.compare(table.assign(tm=table["tm"].mask(none_near)), PRIMARY, 500, 1)
    cells = {(row["arm"], row["class"]): row for row in result["secondary"]}
    assert cells["nearest_training", "all"]["n"] == 2
    assert ("nearest_training", "deep") not in cells
    assert "Arm nearest_training has scores of 2 of 4 targets." in result["notes"]
    assert all(row["n"] for row in result["distribution"])


def test_units_are_compared_by_their_class_and_drawn_by_target():
    table = scores({"disjoint": [0.1, 0.2, 0.3]}, seeds=(1,))
    domains = [
        table[table["target"] == "T00"].assign(unit=unit, **{"class": kind})
        for unit, kind in (("D1", "FM"), ("D2", ""))
    ]
    units = comparison.compare(pd.concat([table, *domains]), PRIMARY, 500, 1)["units"]
    cells = {row["class"]: row for row in units}
    assert set(cells) == {"all", "FM", "deep", "hard"}
    assert (cells["all"]["n"], cells["all"]["targets"]) == (4, 3)  # T00 by its two units, not by its chain
    assert (cells["FM"]["n"], cells["FM"]["low"]) == (1, None)
    assert cells["all"]["mean"] == pytest.approx((0.1 + 0.1 + 0.2 + 0.3) / 4 - 0.01)
    assert "p" not in cells["all"]


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
    primary = comparison.compare(scores({"disjoint": gains}), PRIMARY, 500, 1)["primary"]
    assert primary["met"] is met
    assert "0.05" in primary["criterion"] and "95 %" in primary["criterion"]


def test_one_target_meets_nothing():
    primary = comparison.compare(scores({"disjoint": [0.5]}), PRIMARY, 500, 1)["primary"]
    assert (primary["low"], primary["high"], primary["met"]) == (None, None, False)


def test_memorisation_is_secondary_and_in_no_family_of_tests():
    gains = {"disjoint": [0.01, -0.02, 0.03, 0.04], "memorisation": [0.31, 0.32, 0.33, 0.34]}
    result = comparison.compare(scores(gains), PRIMARY, 500, 1)
    assert result["primary"]["arm"] == "disjoint"
    cells = {(row["arm"], row["class"]): row for row in result["secondary"]}
    assert set(cells) == {(arm, kind) for arm in gains for kind in ("all", "deep", "hard")}
    assert cells["disjoint", "all"]["p_holm"] is None
    assert cells["memorisation", "all"]["p_holm"] is None
    assert cells["disjoint", "hard"]["p_holm"] == pytest.approx(min(1, 2 * cells["disjoint", "hard"]["p"]))
    assert cells["disjoint", "all"]["worst"][0] == {"target": "T01", "difference": pytest.approx(-0.02)}
    assert cells["disjoint", "all"]["improved"] == 0.75
    assert any("memorisation" in note for note in result["notes"])
    assert any("0.12" in note for note in result["notes"])  # 2 / 2^4 = 0.125


def test_hard_targets_are_those_of_a_hard_class_or_unit():
    table = scores({"disjoint": [0.1, 0.2, 0.3, 0.4, 0.5]}, seeds=(1,))
    kinds = {"T00": "FM|FM/TBM", "T01": "TBM-hard", "T02": "MultiDom", "T03": "MultiDom", "T04": "TBM-easy"}
    table["class"] = table["target"].map(kinds)
    units = [("T02", "D1", "TBM-easy"), ("T02", "D2", "FM"), ("T03", "D1", "TBM-easy"), ("T03", "D2", "")]
    domains = [table[table["target"] == target].assign(unit=unit, **{"class": kind}) for target, unit, kind in units]
    result = comparison.compare(pd.concat([table, *domains]), PRIMARY | {"class": "hard"}, 500, 1)
    assert (result["primary"]["n"], result["primary"]["mean"]) == (3, pytest.approx(0.2 - 0.01))
    assert "hard targets (of class FM, FM|FM/TBM, FM/TBM, TBM-hard or hard, or with" in result["primary"]["criterion"]
    assert {row["target"]: row["hard"] for row in result["by_target"]}["T02"] is True
    groups = [row["class"] for row in result["secondary"]]
    assert groups == ["all", "hard", "FM|FM/TBM", "MultiDom", "TBM-easy", "TBM-hard"]
    p_values = {row["class"]: row["p_holm"] for row in result["secondary"]}
    assert p_values["hard"] is None and p_values["all"] is not None  # all targets are secondary here
    counts = {row["class"]: row["n"] for row in result["units"]}  # T00, T01 and T04 by their chains
    assert (counts["all"], counts["hard"], counts["TBM-easy"]) == (7, 3, 3)
    assert {row["n"] for row in result["distribution"] if row["class"] == "hard"} == {3}


def test_distribution_counts_targets():
    rows = comparison.compare(scores({"disjoint": [0.2, 0.3, 0.35, 0.05]}), PRIMARY, 500, 1)["distribution"]
    cells = {(row["arm"], row["class"]): row for row in rows}
    assert cells["baseline", "all"]["reach_0.6"] == 0
    assert cells["baseline", "all"]["improved_by_0.10"] is None
    assert cells["disjoint", "all"]["reach_0.6"] == 3
    assert cells["disjoint", "all"]["reach_0.7"] == 2
    assert cells["disjoint", "all"]["improved_by_0.10"] == 3
    assert cells["disjoint", "deep"]["n"] == 2


def test_an_endpoint_without_scores_is_refused():
    with pytest.raises(comparison.ComparisonError, match="class FM"):
        comparison.compare(scores({"disjoint": [0.1, 0.2]}), PRIMARY | {"class": "FM"}, 500, 1)


def test_the_file_is_plain_json_and_always_the_same(tmp_path):
    table = scores({"disjoint": [0.1, 0.2, -0.05], "memorisation": [0.4, 0.3, 0.2]})
    floor = table[table["arm"] == "baseline"].assign(arm="random_walk", tm=0.17)
    pd.concat([table, floor]).to_csv(tmp_path / "scores.tsv", sep="\t", index=False)
    audit = [("T00", "target", "none", "", "unknown"), ("T01", "target", "<20", "no", "unknown")]
    columns = ["chain", "split", "band", "same_entry", "date_barrier"]
    rows = pd.DataFrame([*audit, ("1abc_A", "test", ">50", "no", "passed")], columns=columns)
    rows.to_csv(tmp_path / "audit.tsv", sep="\t", index=False)
    for name in ("a.json", "b.json"):
        files = [tmp_path / file for file in ("scores.tsv", "audit.tsv", name)]
        comparison.compare_arms(*files, primary=PRIMARY, bootstrap=200, seed=3)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["floor"] == {"mean": pytest.approx(0.17), "n": 3}
    assert {row["arm"] for row in result["by_target"]} == {"disjoint", "memorisation"}
    assert result["leakage"] == {
        "targets": 2,
        "band": {"<20": 1, "none": 1},
        "same_entry": {"no": 1, "unknown": 1},
        "date_barrier": {"unknown": 2},
    }


def test_bands_have_their_counts_means_and_intervals():
    gains = {"disjoint": [0.1, 0.2, 0.3, 0.5], "nearest_training": [0.0, 0.1, 0.0, 0.1]}
    table = scores(gains, seeds=(0,)).assign(tm=lambda rows: rows["tm"].round(3))
    near = {"T00": "0.25", "T01": "0.28", "T02": "", "T03": "0.5"}
    table["nearest_training_identity"] = table["target"].map(near)
    table["in_baseline_training_period"] = table["target"].map({"T00": "yes", "T01": "no", "T02": "", "T03": "no"})
    rows = comparison.compare(table, PRIMARY, 500, 1)["bands"]
    cells = {(row["by"], row["band"]): row for row in rows if row["arm"] == "disjoint"}
    assert list(cells) == [
        *(("identity", name) for name in ("none", "20-30", "30-50")),
        *(("period", name) for name in ("yes", "no", "not known")),
    ]
    within = cells["identity", "20-30"]
    assert (within["n"], within["baseline"], within["mean"]) == (2, pytest.approx(0.4), pytest.approx(0.12))
    assert within["low"] == pytest.approx(0.07) and within["high"] == pytest.approx(0.17)  # the ends: either target
    assert cells["period", "no"]["n"] == 2 and cells["period", "yes"]["low"] is None
    assert {row["arm"] for row in rows} == set(gains) and not any("p" in row for row in rows)


def test_every_metric_is_compared_by_chain_and_by_unit():
    table = scores({"disjoint": [0.1, 0.2, 0.3]}, seeds=(1,))
    table["rmsd"] = np.where(table["arm"] == "disjoint", 7.0, 9.0)
    domains = [table[table["target"] == "T00"].assign(unit=unit, rmsd=table["rmsd"] + 3) for unit in ("D1", "D2")]
    rows = comparison.compare(pd.concat([table, *domains]), PRIMARY, 500, 1)["metrics"]
    cells = {(row["level"], row["metric"]): row for row in rows}
    assert list(cells) == [
        (level, metric) for level in ("chain", "unit") for metric in ("tm", "gdt_ts", "lddt", "rmsd")
    ]
    chain, unit = cells["chain", "rmsd"], cells["unit", "rmsd"]
    assert (chain["n"], chain["baseline"], chain["value"], chain["mean"], chain["high"]) == (3, 9, 7, -2, -2)
    assert (unit["n"], unit["targets"], unit["baseline"], unit["value"]) == (4, 3, 10.5, 8.5)
    assert cells["chain", "tm"]["mean"] == pytest.approx(0.19)
    assert cells["chain", "gdt_ts"]["mean"] == 0


def test_the_primary_difference_is_told_seed_by_seed():
    seeds = comparison.compare(scores({"disjoint": [0.1, 0.2, 0.3]}, seeds=(1, 2, 5)), PRIMARY, 500, 1)["primary"][
        "seeds"
    ]
    assert [row["seed"] for row in seeds] == [1, 2, 5] and {row["n"] for row in seeds} == {3}
    assert [row["mean"] for row in seeds] == pytest.approx([0.19, 0.21, 0.27])

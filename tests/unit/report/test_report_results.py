import dataclasses
import json

import numpy as np
import pytest

from hardfold.contact.keys import BASELINES
from hardfold.leakage import band
from hardfold.report.bands import BANDS, by_band
from hardfold.report.reading import ResultsError
from hardfold.report.results import best, read_results


def test_everything_is_read_and_empty_fields_are_unknown(results):
    assert [one.name for one in results.experiments] == [f"exp{n}" for n in range(1, 8)]
    assert [(run.arm, run.seed) for run in results.tunings][:2] == [("disjoint", 1), ("disjoint", 2)]
    assert results.headline_arms == ["disjoint"]
    assert [one.name for one in results.baselines] == list(BASELINES)
    for split in ("test", "target"):
        assert list(results.metrics[split].index) == [*(one.name for one in results.experiments), *BASELINES]
        assert results.metrics[split]["distance_mae"].isna()["exp1"]
    assert results.comparisons["p_holm"].isna().equals(results.comparisons["question"] == "baseline")
    assert set(results.bands["split"]) == {"test", "target", "held_out"}
    assert results.scores["nearest_training_identity"].isna().all()


def test_chain_scores_are_means_over_seeds(results):
    scores = results.scores
    rows = scores[(scores["arm"] == "disjoint") & (scores["target"] == "2t00_A")]
    assert len(rows) == 2
    assert results.chain_scores("disjoint").loc[("2t00_A", "deep"), "tm"] == pytest.approx(rows["tm"].mean())


@pytest.mark.parametrize("name", ["folding/comparison.json", "splits/audit.tsv", "experiments/exp3/predictions.h5"])
def test_a_missing_file_is_named(own_results, name):
    (own_results / name).unlink()
    with pytest.raises(ResultsError, match=name):
        read_results(own_results)


def test_a_missing_key_column_and_a_bad_number_are_named(own_results):
    path = own_results / "folding/comparison.json"
    whole = path.read_text()
    content = json.loads(whole)
    del content["primary"]["low"]
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=r"comparison.json: primary: low missing"):
        read_results(own_results)
    path.write_text(whole)
    scores = own_results / "folding/scores.tsv"
    table = scores.read_text()
    scores.write_text(table.replace("gdt_ts", "gdt", 1))
    with pytest.raises(ResultsError, match=r"scores.tsv: column gdt_ts is missing"):
        read_results(own_results)
    scores.write_text(table.replace("\t11\t", "\tfar\t", 1))
    with pytest.raises(ResultsError, match=r"column rmsd holds 'far'"):
        read_results(own_results)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("summary", "f1_0.5_high"),
        ("targets", "p_at_l_long_low"),
        ("comparisons", "clusters"),
        ("bands", "roc_auc_low"),
    ],
)
def test_a_missing_column_of_the_contact_tables_is_named(own_results, table, column):
    path = own_results / f"experiments/{table}.tsv"
    path.write_text(path.read_text().replace(f"\t{column}\t", "\tother\t", 1))
    with pytest.raises(ResultsError, match=rf"{table}.tsv: column {column} is missing"):
        read_results(own_results)


@pytest.mark.parametrize("name", ["exp2", "couplings"])
def test_a_missing_part_of_metrics_is_named(own_results, name):
    path = own_results / f"experiments/{name}/metrics.json"
    content = json.loads(path.read_text())
    del content["target"]["distance_error"]
    path.write_text(json.dumps(content))
    with pytest.raises(ResultsError, match=rf"{name}/metrics.json: target: distance_error missing"):
        read_results(own_results)


def test_the_best_experiment_is_chosen_on_validation_chains_at_the_epoch_kept(own_results):
    results = read_results(own_results)
    assert results.best.name == "exp7"
    history = own_results / "experiments/exp3/history.csv"
    rows = history.read_text().splitlines()
    rows[12] = ",".join([*rows[12].split(",")[:-1], "0.999"])  # of an epoch that was not kept
    history.write_text("\n".join(rows))
    assert read_results(own_results).best.name == "exp7"
    rows[9] = ",".join([*rows[9].split(",")[:-1], "0.99"])
    history.write_text("\n".join(rows))
    changed = read_results(own_results)
    assert changed.best.name == "exp3"
    assert changed.best.validation_roc_auc == 0.99
    unknown = [
        dataclasses.replace(one, history=one.history.assign(validation_roc_auc=np.nan)) for one in results.experiments
    ]
    assert best(unknown) is None


def test_identity_bands(results):
    assert {band(x) for x in (float("nan"), 0.0, 0.2, 0.3, 0.51)} == set(BANDS)
    for when in ("before", "after"):
        counts = by_band(results.audit, when)
        assert list(counts) == BANDS
        assert sum(counts.values()) == len(results.audit)
    assert by_band(results.audit, "before")["30-50"] > by_band(results.audit, "after")["30-50"] == 0

"""metrics.json: what it says is what the predictions and the data set hold, whatever is missing."""

import json

import h5py
import numpy as np
import pytest
from made_up_maps import contact_maps, noisy, write_noisy, write_splits
from sklearn.metrics import f1_score

from hardfold import contacts, tables
from hardfold.contact.predictions import write_predictions
from hardfold.contact.score import METRICS, score_contacts
from hardfold.contacts import PredictionError
from hardfold.dataset import Dataset
from hardfold.statistics import FEWEST

MAPS = {"validation": contact_maps(3, 40, 1), "test": contact_maps(6, 44, 2), "target": contact_maps(2, 30, 3)}


def score(folder, chains, cluster=lambda id: id, **options):
    """metrics.json of predictions.h5 in the folder; by default each chain is a cluster."""
    settings = {"resamples": 500, "seed": 1, **options}
    assigned = [{"chain": id, "cluster": cluster(id)} for path in chains.values() for id in Dataset(path).ids]
    tables.write(folder / "assignment.tsv", assigned, ["chain", "cluster"])
    files = {"predictions": folder / "predictions.h5", "assignment": folder / "assignment.tsv"}
    score_contacts(**files, chains=chains, output=folder / "metrics.json", **settings)
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def chains(tmp_path):
    return write_splits(tmp_path, **MAPS)


def test_every_protein_is_scored_as_by_itself(chains, tmp_path):
    write_noisy(tmp_path / "predictions.h5", MAPS)
    result = score(tmp_path, chains)
    assert result["experiment"] == "made_up"
    with h5py.File(tmp_path / "predictions.h5") as file:
        for split in ("test", "target"):
            section = result[split]
            assert [row["chain"] for row in section["by_protein"]] == sorted(MAPS[split])
            assert section["proteins"] == len(MAPS[split]) and section["distance_error"] is None
            for row in section["by_protein"]:
                predicted, truth = file[row["chain"]]["contact_probability"][()], MAPS[split][row["chain"]]
                expected = contacts.evaluate(predicted, truth)
                assert {key: row[key] for key in expected} == expected
                pairs = contacts.resolved_pairs(predicted, truth)
                for end, threshold in (("", result["threshold"]), ("_0.5", 0.5)):
                    found = [row[f"{key}{end}"] for key in ("precision", "recall", "f1")]
                    assert found == pytest.approx(contacts.precision_recall_f1(*pairs, threshold))
                assert row["distance_mae"] is row["angle_mae"] is None


def test_the_threshold_has_the_largest_f1_over_all_validation_pairs(chains, tmp_path):
    write_noisy(tmp_path / "predictions.h5", MAPS, signal=0.4)
    threshold = score(tmp_path, chains)["threshold"]
    with h5py.File(tmp_path / "predictions.h5") as file:
        parts = [contacts.resolved_pairs(file[id]["contact_probability"][()], MAPS["validation"][id])
                 for id in MAPS["validation"]]  # fmt: skip
    scores, is_contact = (np.concatenate(part) for part in zip(*parts, strict=True))
    best = max(f1_score(is_contact, scores >= level) for level in np.unique(scores))
    assert f1_score(is_contact, scores >= threshold) == best and 0.4 < threshold < 1


def test_means_and_intervals_are_over_the_proteins_that_have_the_metric(chains, tmp_path):
    without = {**MAPS["test"], "2map_0000": np.zeros((44, 44), np.uint8)}  # a chain without a contact
    chains = write_splits(tmp_path, **{**MAPS, "test": without})
    write_noisy(tmp_path / "predictions.h5", {**MAPS, "test": without})
    section = score(tmp_path, chains)["test"]
    assert list(section["metrics"]) == METRICS and section["by_protein"][0]["roc_auc"] is None
    for key, found in section["metrics"].items():
        if key != "threshold":
            values = [row[key] for row in section["by_protein"] if row[key] is not None]
            assert found["n"] == len(values)
            if values:
                assert found["value"] == pytest.approx(np.mean(values))
            if len(values) < FEWEST:
                assert found["low"] is None and found["high"] is None
            else:
                assert found["low"] <= found["value"] <= found["high"]
    assert section["metrics"]["roc_auc"]["n"] == 5 and section["metrics"]["base_rate"]["n"] == 6
    assert section["metrics"]["threshold"]["low"] is None


def test_intervals_are_over_clusters(tmp_path):
    maps = {**MAPS, "test": contact_maps(24, 30, 5)}
    chains = write_splits(tmp_path, **maps)
    write_noisy(tmp_path / "predictions.h5", maps)
    alone = score(tmp_path, chains)["test"]["metrics"]["roc_auc"]
    # Alike within a cluster: three of the best eight, three of the next, ...
    rows = json.loads((tmp_path / "metrics.json").read_text())["test"]["by_protein"]
    ranks = {row["chain"]: rank for rank, row in enumerate(sorted(rows, key=lambda row: row["roc_auc"]))}
    whole = score(tmp_path, chains, lambda id: f"c{ranks.get(id, 0) // 3}")["test"]["metrics"]["roc_auc"]
    assert whole["value"] == alone["value"] and whole["n"] == alone["n"] == 24
    assert whole["high"] - whole["low"] > 1.3 * (alone["high"] - alone["low"])
    few = score(tmp_path, chains, lambda id: f"c{ranks.get(id, 0) // 6}")["test"]["metrics"]["roc_auc"]
    assert few["low"] is few["high"] is None


def test_curves_are_means_over_proteins_and_reliability_counts_every_pair(chains, tmp_path):
    write_noisy(tmp_path / "predictions.h5", MAPS)
    section = score(tmp_path, chains)["test"]
    roc, pr, bins = section["curves"]["roc"], section["curves"]["pr"], section["reliability"]
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(section["metrics"]["roc_auc"]["value"], abs=0.01)
    assert np.mean(pr["precision"]) == pytest.approx(section["metrics"]["pr_auc"]["value"], abs=0.02)
    assert sum(bins["count"]) == sum(row["pairs"] for row in section["by_protein"])
    total = sum(seen * n for seen, n in zip(bins["observed"], bins["count"], strict=True) if n)
    assert total == pytest.approx(sum(row["base_rate"] * row["pairs"] for row in section["by_protein"]))
    assert any(value is None for value in bins["predicted"]) == (0 in bins["count"])


def test_distances_and_angles_are_scored_by_true_distance_and_capped(chains, tmp_path):
    generator = np.random.default_rng(0)
    predicted = (
        (split, id, {
            "contact_probability": noisy(truth, generator),
            "distance": np.where(truth == 1, 6.0, 12.0).astype(np.float16),
            "angles": np.full((len(truth), 2), np.radians(10), np.float32),
        })
        for split, maps in MAPS.items() for id, truth in maps.items()
    )  # fmt: skip
    write_predictions(tmp_path / "predictions.h5", "made_up", predicted, max_distance=8.0)
    section = score(tmp_path, chains)["test"]
    # Contacts are at 5 angstrom and predicted at 6, all else at 15 and predicted at 12: that is beyond max_distance.
    assert section["metrics"]["distance_mae"]["value"] == 1
    assert section["metrics"]["angle_mae"]["value"] == pytest.approx(10, abs=1e-4)
    errors = section["distance_error"]
    assert errors["true"][0] == 3 and errors["true"][-1] == 39
    found = {true: (mae, bias) for true, mae, bias in zip(errors["true"], errors["mae"], errors["bias"], strict=True)}
    assert found[5] == (1, 1) and found[15] == (3, -3) and found[25] == (None, None)
    pairs = sum(row["pairs"] for row in section["by_protein"])
    assert sum(errors["count"]) == pairs


def test_pairs_that_no_window_saw_are_counted(chains, tmp_path):
    path = write_noisy(tmp_path / "predictions.h5", MAPS)
    with h5py.File(path, "a") as file:
        file["2map_0000/contact_probability"][0, 20:] = np.nan
        file["2map_0000/contact_probability"][20:, 0] = np.nan
    section = score(tmp_path, chains)["test"]
    assert section["pairs_unseen"] == section["by_protein"][0]["pairs_unseen"] == 24


def test_a_split_without_chains_is_null(tmp_path):
    maps = {"validation": MAPS["validation"]}
    chains = write_splits(tmp_path, **maps)
    write_noisy(tmp_path / "predictions.h5", maps)
    for section in (score(tmp_path, chains)[split] for split in ("test", "target")):
        assert section["proteins"] == section["pairs_unseen"] == 0 and section["by_protein"] == []
        assert section["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None, "n": 0}
        assert section["curves"]["roc"]["tpr"] is section["distance_error"] is None
        assert section["reliability"]["count"] == [0] * 10 and section["reliability"]["observed"] == [None] * 10


def test_predictions_of_other_chains_are_refused_by_name(chains, tmp_path):
    path = write_noisy(tmp_path / "predictions.h5", MAPS)
    with h5py.File(path, "a") as file:
        del file["3map_0001"]
    with pytest.raises(PredictionError, match="target: 3map_0001 and 0 more are not those of"):
        score(tmp_path, chains)
    with h5py.File(path, "a") as file:
        file.copy("2map_0000", "3map_0001")
        file["3map_0001"].attrs["split"] = "target"
    with pytest.raises(PredictionError, match="3map_0001 is of another length"):
        score(tmp_path, chains)


def test_the_file_is_always_the_same_and_the_seed_and_resamples_count(chains, tmp_path):
    write_noisy(tmp_path / "predictions.h5", MAPS)
    texts = []
    for options in ({}, {}, {"seed": 2}, {"resamples": 400}):
        score(tmp_path, chains, **options)
        texts.append((tmp_path / "metrics.json").read_text())
    assert texts[0] == texts[1] and len(set(texts)) == 3

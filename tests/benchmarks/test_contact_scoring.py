"""Scoring of the predictions of 1,000 chains of 256 residues, against scikit-learn metric by metric.

One process of one thread. Distances of chance, 1 % of the pairs in contact, predicted with noise; there are no targets.
"""

import json
import time

import h5py
import numpy as np
import pytest
from measure import print_table
from sklearn import metrics

from hardfold import contacts, tables
from hardfold.contact.predictions import write_predictions
from hardfold.contact.score import score_contacts
from hardfold.dataset import FORMAT_VERSION, Dataset

pytestmark = pytest.mark.benchmark
CHAINS, LENGTH, RESAMPLES = {"validation": 100, "test": 1000, "target": 0}, 256, 10_000
COMPARED = 40  # chains that scikit-learn scores


def make(folder):
    """(data sets by split, predictions.h5) of CHAINS chains of a few native maps and noise of their own."""
    generator = np.random.default_rng(0)
    position = np.arange(LENGTH)
    apart = np.abs(position[:, None] - position)
    chains, predicted = {}, []
    for split, count in CHAINS.items():
        chains[split] = folder / f"{split}.h5"
        with h5py.File(chains[split], "w") as file:
            file.attrs["format_version"] = FORMAT_VERSION
            file.create_group("chains")
            for number in range(count):
                drawn = 2.0 + generator.gamma(4.0, 4.0, apart.shape)
                distance = np.where(apart > 2, (drawn + drawn.T) / 2, 5.0).astype(np.float16)
                group = file.create_group(f"chains/{split}{number:04d}")
                group["sequence"], group["msa"] = "A" * LENGTH, np.full((1, LENGTH), ord("A"), np.uint8)
                group["coordinates"], group["mask"] = np.zeros((LENGTH, 5, 3), np.float32), np.ones(LENGTH, bool)
                angles = generator.uniform(-np.pi, np.pi, (LENGTH, 2)).astype(np.float32)
                stored = {"contact_map": (distance < 8).astype(np.uint8), "distance_map": distance}
                for name, values in stored.items():
                    group.create_dataset(name, data=values, compression="gzip", compression_opts=1, shuffle=True)
                group["angle_map"] = angles
                predicted.append((split, f"{split}{number:04d}", distance, angles))
    write_predictions(folder / "predictions.h5", "made_up", guesses(predicted, generator), max_distance=20.0)
    return chains, folder / "predictions.h5"


def guesses(chains, generator):
    for split, id, distance, angles in chains:
        noise = generator.normal(0, 4, distance.shape)
        guess = distance + (noise + noise.T) / 2
        arrays = {
            "contact_probability": (1 / (1 + np.exp(guess - 8))).astype(np.float16),
            "distance": np.clip(guess, 2, 20).astype(np.float16),
            "angles": angles + generator.normal(0, 0.5, angles.shape).astype(np.float32),
        }
        yield split, id, arrays


def by_scikit_learn(probability, truth, threshold):
    """The same metrics, each from the pairs by itself."""
    scores, is_contact = contacts.resolved_pairs(probability, truth)
    found = {
        "roc_auc": metrics.roc_auc_score(is_contact, scores),
        "pr_auc": metrics.average_precision_score(is_contact, scores),
    }
    for end, level in (("", threshold), ("_0.5", 0.5)):
        found[f"precision{end}"] = metrics.precision_score(is_contact, scores >= level, zero_division=np.nan)
        found[f"recall{end}"] = metrics.recall_score(is_contact, scores >= level)
        found[f"f1{end}"] = metrics.f1_score(is_contact, scores >= level)
    for name, separation in contacts.RANGES.items():
        for key, divisor in contacts.FRACTIONS.items():
            pairs = contacts.resolved_pairs(probability, truth, *separation)
            found[f"{key}_{name}"] = contacts.precision_at(*pairs, len(truth) // divisor)
    metrics.roc_curve(is_contact, scores)
    metrics.precision_recall_curve(is_contact, scores)
    return found


def test_scoring_a_thousand_chains(tmp_path):
    chains, predictions = make(tmp_path)
    assignment = tmp_path / "assignment.tsv"
    ids = [id for path in chains.values() for id in Dataset(path).ids]
    tables.write(assignment, [{"chain": id, "cluster": id} for id in ids], ["chain", "cluster"])
    start = time.monotonic(), time.process_time()
    files = {"predictions": predictions, "assignment": assignment, "output": tmp_path / "metrics.json"}
    score_contacts(**files, chains=chains, resamples=RESAMPLES, seed=1)
    wall, cpu = time.monotonic() - start[0], time.process_time() - start[1]
    result = json.loads((tmp_path / "metrics.json").read_text())
    data, ours, theirs, reading = Dataset(chains["test"]), 0.0, 0.0, 0.0
    with h5py.File(predictions) as file:
        for row in result["test"]["by_protein"][:COMPARED]:
            marks = [time.process_time()]
            truth = data.read(row["chain"], rows=0).contact_map
            probability = file[row["chain"]]["contact_probability"][()]
            marks.append(time.process_time())
            contacts.evaluate(probability, truth)
            marks.append(time.process_time())
            expected = by_scikit_learn(probability, truth, result["threshold"])
            marks.append(time.process_time())
            reading, ours, theirs = (
                total + part for total, part in zip((reading, ours, theirs), np.diff(marks), strict=True)
            )
            assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-9)
    rows = [
        ["score_contacts, 1,000 chains and 100 of validation", f"{wall:.1f} s", f"{cpu:.1f} s"],
        ["a chain of it, all metrics, reading included", "", f"{1000 * cpu / 1100:.1f} ms"],
        ["a chain by scikit-learn, contacts alone, nothing read", "", f"{1000 * theirs / COMPARED:.1f} ms"],
        ["a chain by `contacts.evaluate`, nothing read", "", f"{1000 * ours / COMPARED:.1f} ms"],
        ["reading a chain", "", f"{1000 * reading / COMPARED:.1f} ms"],
    ]
    print_table("scoring", ["", "wall clock", "processor"], rows)
    print(f"scikit-learn's contacts alone take {theirs / COMPARED * 1100 / cpu:.1f} times all of score_contacts")
    assert cpu < 60 and theirs / COMPARED * 1100 > cpu

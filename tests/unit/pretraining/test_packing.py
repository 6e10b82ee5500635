"""Packed records come back as they were, from files that stay small."""

from types import SimpleNamespace

import numpy as np
import pytest

from hardfold.pretraining import packing


def test_sequences_and_clusters_come_back_from_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SHARD_BYTES", 100)
    sequences = {f"P{number:02}": "ACDEFGHIKL" * (1 + number % 3) for number in range(20)}
    packing.save_sequences(tmp_path, "train", sequences, {name: 7 * number for number, name in enumerate(sequences)})
    assert len(list(tmp_path.iterdir())) > 4
    found, clusters = packing.load_sequences(tmp_path, "train")
    assert found == list(sequences.values()) and clusters.tolist() == list(range(0, 140, 7))
    assert packing.load_sequences(tmp_path, "validation")[0] == []


def test_a_file_is_below_twelve_megabytes_however_little_it_compresses(tmp_path):
    letters = np.random.default_rng(1).integers(65, 91, 30_000_000, np.uint8).tobytes().decode()
    sequences = {f"P{start}": letters[start : start + 1_000_000] for start in range(0, len(letters), 1_000_000)}
    packing.save_sequences(tmp_path, "train", sequences, dict.fromkeys(sequences, 0))
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 3 and max(sizes) <= 12_000_000


def test_stretches_keep_their_shape_to_a_hundredth_of_an_angstrom(tmp_path):
    coordinates = np.random.default_rng(1).normal(-200, 30, (9, 4, 3)).astype(np.float32)
    profile = np.random.default_rng(2).integers(0, 10_000, (9, 20)) / 10_000
    stretches = {"1abc_A": SimpleNamespace(sequence="ACDEFGHIK", coordinates=coordinates, profile=profile)}
    packing.save_stretches(tmp_path, "train", stretches)
    assert packing.load_profiles(tmp_path, "train")["1abc_A"] == pytest.approx(profile, abs=1e-6)
    chain = packing.load_stretches(tmp_path, "train")["1abc_A"]
    assert chain.sequence == "ACDEFGHIK" and chain.virtual_cb.any()
    moved = chain.coordinates[:, :4] - coordinates
    assert np.ptp(moved, axis=(0, 1)).max() < 0.0102


def test_alignments_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SHARD_BYTES", 100)
    rows = {"b": np.full((3, 5), 65, np.uint8), "a": np.arange(65, 73, dtype=np.uint8).reshape(2, 4)}
    couplings = {name: np.outer(found[0], found[0]) % 8 for name, found in rows.items()}
    packing.save_alignments(tmp_path, "train", ((name, rows[name], couplings[name]) for name in rows))
    packing.save_alignments(tmp_path, "single", [("c", rows["a"][:1], couplings["a"])])
    assert len(list(tmp_path.glob("train*"))) == 2
    found = packing.load_alignments(tmp_path, "train")
    assert list(found) == ["b", "a"] and all((found[name] == rows[name]).all() for name in rows)
    stored = packing.load_couplings(tmp_path, "train")
    assert stored.keys() == couplings.keys() and all((stored[name] == couplings[name]).all() for name in stored)
    assert list(packing.load_alignments(tmp_path, "single")) == ["c"] and not packing.load_couplings(tmp_path, "single")

"""Data sets and predictions of maps that a test makes up."""

import h5py
import numpy as np

from hardfold import dataset
from hardfold.contact.predictions import write_predictions


def contact_maps(count, length, seed, rate=0.1):
    """Symmetric contact maps of chance: id -> (L, L) uint8."""
    generator = np.random.default_rng(seed)
    drawn = (np.triu(generator.random((length, length)) < rate, 1) for _ in range(count))
    return {f"{seed}map_{number:04d}": (one | one.T).astype(np.uint8) for number, one in enumerate(drawn)}


def write_dataset(path, maps):
    """A data set of chains with these contact maps: 5 angstrom within a contact, 15 else, all angles 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["format_version"] = dataset.FORMAT_VERSION
        file.create_group("chains")
        for id, truth in maps.items():
            length = len(truth)
            group = file.create_group(f"chains/{id}")
            group["sequence"], group["msa"] = "A" * length, np.full((1, length), ord("A"), np.uint8)
            group["coordinates"], group["mask"] = np.zeros((length, 5, 3), np.float32), np.ones(length, bool)
            group["contact_map"], group["angle_map"] = truth, np.zeros((length, 2), np.float32)
            group["distance_map"] = np.select([truth == 1, truth == 0], [5.0, 15.0], np.nan).astype(np.float32)
    return path


def write_splits(folder, **maps):
    """split -> data set, of split=maps; the splits that are not given have no chain."""
    splits = ("train", "validation", "test", "target")
    return {split: write_dataset(folder / f"dataset/{split}.h5", maps.get(split, {})) for split in splits}


def noisy(truth, generator, signal=0.3):
    """(L, L) float16 symmetric probabilities, larger by `signal` for contacts."""
    drawn = generator.random(truth.shape)
    return ((drawn + drawn.T) / 2 * (1 - signal) + signal * (truth == 1)).astype(np.float16)


def write_noisy(path, maps, seed=0, signal=0.3, **attributes):
    """predictions.h5 of `noisy` probabilities for split -> maps."""
    generator = np.random.default_rng(seed)
    predicted = (
        (split, id, {"contact_probability": noisy(truth, generator, signal)})
        for split, chains in maps.items()
        for id, truth in chains.items()
    )
    write_predictions(path, "made_up", predicted, **attributes)
    return path

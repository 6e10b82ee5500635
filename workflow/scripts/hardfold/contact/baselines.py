"""What every experiment must beat: the base rate, the separation of a pair, ESM-2's own attention, couplings alone.

All are fitted on the training chains and predict contacts as an experiment does.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from hardfold.contact.embeddings import Embeddings
from hardfold.contact.keys import HEAD_CHAINS
from hardfold.contact.predictions import write_predictions
from hardfold.contacts import MIN_SEPARATION, count_scores, pairs_in, resolved_pairs
from hardfold.dataset import Dataset, Record, evenly_chosen
from hardfold.geometry import UNRESOLVED
from hardfold.jobs import progress
from hardfold.regression import contact_probability, fit_contacts
from hardfold.weights import verify

Maps = Callable[[str, Record], np.ndarray]  # (split, chain) -> the maps (P, L, L) that a baseline reads
Predictor = Callable[[str, Record], np.ndarray]  # (split, chain) -> contact probability (L, L)


def predict_baseline(
    *,
    baseline: str,
    entry: Mapping | None,
    weights: Path | None,
    embeddings: Path,
    chains: Mapping[str, Path],
    output: Path,
    max_distance: float,
    seed: int,
) -> None:
    """Fit the baseline on the chains of the split `train` and write predictions.h5 for those of the other splits.

    chains: split -> data set; entry: what it reads (keys.baseline_entry), of `embeddings`/<key>/; weights: the folder
    of the encoder that made it. separation_prior predicts distances up to max_distance and angles, too.
    """
    data = {split: Dataset(path) for split, path in chains.items()}
    train, maps = data.pop("train"), None
    if entry:
        record = verify(weights) if weights else None
        made_with = record["files"][f"{record['name']}.pt"] if record else ""
        wanted = {"train": evenly_chosen(train.ids, entry["training_chains"])} if entry["training_chains"] else {}
        files = {
            split: Embeddings(Path(embeddings, entry["key"], f"{split}.h5"), entry, made_with, path, wanted.get(split))
            for split, path in chains.items()
        }

        def maps(split, record):
            return files[split].maps(record.id, 0, len(record.sequence))

    predict = {
        "base_rate": lambda: base_rate(train),
        "separation_prior": lambda: separation_prior(train),
        "attention_head": lambda: attention_head(train, maps),
        "attention_head_shuffled": lambda: attention_head(train, shuffled(maps, seed)),
        "couplings": lambda: scaled_couplings(train, maps),
    }[baseline]()
    of_prior = baseline == "separation_prior"
    geometry = typical_geometry(train, max_distance) if of_prior else lambda length: {}

    def arrays(split, record):
        probability = predict(split, record).astype(np.float16)
        return {"contact_probability": probability, **geometry(len(record.sequence))}

    predicted = (
        (split, id, arrays(split, part.read(id, rows=0)))
        for split, part in data.items()
        for id in progress(part.ids, len(part), f"{split} chains predicted")
    )
    write_predictions(output, baseline, predicted, **({"max_distance": max_distance} if of_prior else {}))


def base_rate(train: Dataset) -> Predictor:
    """For every pair the share of contacts among the resolved training pairs with |i-j| >= 6."""
    pairs, found = _by_separation(train)[:, MIN_SEPARATION:].sum(axis=1)
    return lambda split, record: np.full((len(record.sequence),) * 2, found / pairs)


def separation_prior(train: Dataset) -> Predictor:
    """The share of contacts among the resolved training pairs of the same |i-j|; of a smaller one where none has it."""
    pairs, found = _by_separation(train)
    seen = np.flatnonzero(pairs)
    share = found[seen] / pairs[seen]

    def predict(split, record):
        position = np.arange(len(record.sequence))
        return share[np.searchsorted(seen, np.abs(position[:, None] - position), side="right") - 1]

    return predict


def typical_geometry(train: Dataset, max_distance: float) -> Callable[[int], dict[str, np.ndarray]]:
    """Length -> distance (L, L) float16, the mean of the training pairs within `max_distance` angstrom of the same
    |i-j|, or of a smaller one where none has it; angles (L, 2) float32, the training residues' mean directions."""
    count, total = np.zeros((2, max(train.lengths())))
    directions = np.zeros(2, complex)
    for record in progress(train, len(train), "training chains averaged"):
        i, j = pairs_in(len(record.sequence), 0)
        distance = record.distance_map[i, j]
        near = distance <= max_distance  # False for NaN
        count += np.bincount((j - i)[near], minlength=len(count))
        total += np.bincount((j - i)[near], distance[near], minlength=len(total))
        directions += np.nansum(np.exp(1j * record.angle_map), axis=0)
    seen = np.flatnonzero(count)
    mean = (total[seen] / count[seen]).astype(np.float16)

    def predict(length):
        separation = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
        return {
            "distance": mean[np.searchsorted(seen, separation, side="right") - 1],
            "angles": np.tile(np.angle(directions).astype(np.float32), (length, 1)),
        }

    return predict


def _by_separation(train):
    """(2, separations) resolved pairs and contacts of the training chains by |i-j|."""
    total = np.zeros((2, max(train.lengths())), int)
    for record in progress(train, len(train), "training chains counted"):
        i, j = pairs_in(len(record.sequence), 0)
        truth = record.contact_map[i, j]
        for row, chosen in zip(total, (truth != UNRESOLVED, truth == 1), strict=True):
            row += np.bincount((j - i)[chosen], minlength=len(row))
    return total


def attention_head(train: Dataset, maps: Maps) -> Predictor:
    """ESM's contact head fitted anew: L1 logistic regression on the attention maps of HEAD_CHAINS training chains."""
    records = [train.read(id, rows=0) for id in evenly_chosen(train.ids, HEAD_CHAINS)]
    weight, bias = fit_contacts((maps("train", record), record.contact_map) for record in records)
    logging.info("%d of %d attention maps have a weight", np.count_nonzero(weight), len(weight))
    return lambda split, record: contact_probability(maps(split, record), weight, bias)


def shuffled(maps: Maps, seed: int) -> Maps:
    """The maps with the residues of each chain in an order of chance: what is left are the maps' values alone."""

    def read(split, record):
        generator = np.random.default_rng([seed, *hashlib.sha256(record.id.encode()).digest()[:8]])
        order = generator.permutation(len(record.sequence))
        return maps(split, record)[:, order[:, None], order]

    return read


def scaled_couplings(train: Dataset, maps: Maps) -> Predictor:
    """Standardised couplings as probabilities by logistic regression on all resolved training pairs: a rising function,
    so that pairs are ranked by their couplings alone."""
    counts = np.zeros((2, 2**16), int)
    for record in progress(train, len(train), "training chains counted"):
        counts += count_scores(*resolved_pairs(maps("train", record)[0], record.contact_map))
    found = np.flatnonzero(counts[0])
    coupling = np.tile(found.astype(np.uint16).view(np.float16).astype(float), 2)[:, None]
    is_contact = np.repeat([False, True], len(found))
    pairs = np.concatenate([counts[0, found] - counts[1, found], counts[1, found]])
    regression = LogisticRegression(C=np.inf).fit(coupling, is_contact, pairs)
    (slope,), bias = regression.coef_[0], regression.intercept_[0]
    if slope <= 0:
        logging.warning("couplings say nothing of the training chains' contacts (slope %.3g): slope 1 instead", slope)
        slope = 1.0
    logging.info("log odds of a contact: %.3f + %.3f x coupling", bias, slope)
    return lambda split, record: expit(bias + slope * maps(split, record)[0].astype(float))

"""Contact, distance and angle metrics in NumPy, each defined once; predictions read from HDF5, npz or CASP RR.

Contact: CB-CB below 8 angstrom (CA for Gly) between resolved residues; maps hold 1, 0 and 255 for unresolved. A pair
is i < j with j - i >= 6; ranges: short 6-11, medium 12-23, long 24 and more. L residues, P pairs.
"""

from pathlib import Path

import h5py
import numpy as np

from hardfold import geometry
from hardfold.geometry import UNRESOLVED
from hardfold.structure.parse import read_model

MIN_SEPARATION = 6
RANGES = {"long": (24, None), "medium": (12, 23), "short": (6, 11)}
FRACTIONS = {"p_at_l": 1, "p_at_l2": 2, "p_at_l5": 5}
PRECISION_KEYS = [f"{key}_{name}" for name in RANGES for key in FRACTIONS]
DISTANCE_EDGES = np.arange(2.0, 41.0, 2.0)  # angstrom, of the true distance
_HDF5 = (".h5", ".hdf5")
_CASP_HEADERS = {"PFRMAT", "TARGET", "AUTHOR", "REMARK", "METHOD", "MODEL", "RMODE", "END", "TER"}


class PredictionError(ValueError):
    """A prediction that cannot be scored; the message names the file and the fault."""


def pairs_in(length: int, nearest: int = MIN_SEPARATION, farthest: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Indices i, j of the pairs with nearest <= j - i <= farthest, by i, then j."""
    i, j = np.triu_indices(length, nearest)
    if farthest is None:
        return i, j
    near = j - i <= farthest
    return i[near], j[near]


def resolved_pairs(probability: np.ndarray, contact_map: np.ndarray, nearest=MIN_SEPARATION, farthest=None):
    """(scores (P,) float64, is_contact (P,) bool) over resolved pairs that are predicted, NaN meaning that one is not;
    the probability is symmetrised first."""
    scores, is_contact, _ = _scored(probability, contact_map, *pairs_in(len(contact_map), nearest, farthest))
    return scores, is_contact


def _scored(probability, contact_map, i, j):
    scores = (probability[i, j].astype(np.float64) + probability[j, i]) / 2
    truth = contact_map[i, j]
    scored = (truth != UNRESOLVED) & ~np.isnan(scores)
    return scores[scored], truth[scored] == 1, (j - i)[scored]


def ranked_pairs(probability: np.ndarray, contact_map: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(scores, is_contact, separation), each (P,), of `resolved_pairs`, the highest score first.

    Every metric below sorts what it is given, stably: of pairs that are sorted already that takes next to no time.
    """
    pairs = _scored(probability, contact_map, *pairs_in(len(contact_map)))
    order = np.argsort(-pairs[0], kind="stable")
    return tuple(values[order] for values in pairs)


def precision_at(scores: np.ndarray, is_contact: np.ndarray, count: int) -> float:
    """Share of contacts among the `count` best scored pairs, or among all where fewer exist; NaN without pairs, and
    where all scores are equal and so name none the best.

    Pairs of equal score keep their order (by i, then j).
    """
    if not len(scores) or (count < len(scores) and scores.min() == scores.max()):
        return np.nan
    return float(is_contact[np.argsort(-scores, kind="stable")[:count]].mean())


def roc_auc(scores: np.ndarray, is_contact: np.ndarray) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic, ties counting one half; NaN where a class is absent."""
    if is_contact.all() or not is_contact.any():
        return np.nan
    _, true, false = threshold_counts(scores, is_contact)
    above = true - np.diff(true, prepend=0) / 2  # contacts above a score and half of those at it
    return float((np.diff(false, prepend=0) * above).sum() / (true[-1] * false[-1]))


def threshold_counts(scores: np.ndarray, is_contact: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(thresholds falling, true positives, false positives) at `score >= threshold`, one entry a distinct score."""
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(is_contact[order])
    last = np.flatnonzero(np.append(np.diff(scores) != 0, len(scores) > 0))
    return scores[last], hits[last], last + 1 - hits[last]


def pr_auc(scores: np.ndarray, is_contact: np.ndarray) -> float:
    """Average precision: the precision at each distinct score, weighted by the recall it adds; NaN without contacts."""
    if not is_contact.any():
        return np.nan
    _, true, false = threshold_counts(scores, is_contact)
    return float((np.diff(true, prepend=0) * true / (true + false)).sum() / true[-1])


def precision_recall_f1(scores: np.ndarray, is_contact: np.ndarray, threshold: float) -> tuple[float, float, float]:
    """At `score >= threshold`. NaN where undefined: precision without predictions, recall and F1 without contacts."""
    predicted = scores >= threshold
    hits, contacts = int((predicted & is_contact).sum()), int(is_contact.sum())
    precision = hits / predicted.sum() if predicted.any() else np.nan
    recall = hits / contacts if contacts else np.nan
    f1 = 2 * hits / (int(predicted.sum()) + contacts) if contacts else np.nan
    return float(precision), float(recall), float(f1)


def count_scores(scores: np.ndarray, is_contact: np.ndarray) -> np.ndarray:
    """(2, 65536) all pairs and contacts by score, rounded to float16 and read as its bits, which keep the order of what
    is not negative. Counts of many chains add up."""
    score = scores.astype(np.float16).view(np.uint16)
    return np.stack([np.bincount(part, minlength=2**16) for part in (score, score[is_contact])])


def best_threshold(counts: np.ndarray) -> float:
    """The score of largest F1 over the pairs counted (the highest of equals). Raises ValueError without any contact."""
    if not counts[1].any():
        raise ValueError("no contact to choose a threshold by")
    found = np.flatnonzero(counts[0])[::-1]
    pairs, true = np.cumsum(counts[:, found], axis=1)
    best = found[np.argmax(2 * true / (pairs + true[-1]))]
    return float(best.astype(np.uint16).view(np.float16))


def evaluate(probability: np.ndarray, contact_map: np.ndarray) -> dict[str, float | int]:
    """p_at_* by range, roc_auc, pr_auc, base_rate, pairs, pairs_unseen and length of one chain from (L, L) maps.

    P@L, P@L/2, P@L/5: precision of the best L // 1, 2, 5 pairs of the range (at least one), L counting unresolved
    residues too. Only resolved pairs are ranked, and of those only the ones with a probability: `pairs_unseen` counts
    the others.
    """
    return evaluate_ranked(*ranked_pairs(probability, contact_map), contact_map)


def evaluate_ranked(scores, is_contact, separation, contact_map: np.ndarray) -> dict[str, float | int]:
    """`evaluate` of a chain's `ranked_pairs`."""
    length, metrics = len(contact_map), {}
    for name, (nearest, farthest) in RANGES.items():
        inside = (separation >= nearest) & (separation <= (farthest or length))
        chosen = scores[inside], is_contact[inside]
        for key, divisor in FRACTIONS.items():
            metrics[f"{key}_{name}"] = precision_at(*chosen, max(1, length // divisor))
    metrics["roc_auc"] = roc_auc(scores, is_contact)
    metrics["pr_auc"] = pr_auc(scores, is_contact)
    metrics["base_rate"] = float(is_contact.mean()) if len(is_contact) else np.nan
    resolved = int(np.count_nonzero(contact_map[pairs_in(length)] != UNRESOLVED))
    return {**metrics, "pairs": len(scores), "pairs_unseen": resolved - len(scores), "length": length}


def distance_mae(predicted: np.ndarray, true: np.ndarray, max_distance: float) -> float:
    """Mean absolute error in angstrom over predicted pairs (j - i >= 6) of a known true distance <= max_distance."""
    i, j = pairs_in(len(true))
    near = (true[i, j] <= max_distance) & ~np.isnan(predicted[i, j])  # False for NaN
    i, j = i[near], j[near]
    return float(np.abs(predicted[i, j].astype(np.float64) - true[i, j]).mean()) if len(i) else np.nan


def distance_error_sums(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(3, bins) of the predicted pairs (j - i >= 6) whose true distance lies between two DISTANCE_EDGES: how many, the
    sums of their absolute and signed errors (predicted less true, angstrom)."""
    i, j = pairs_in(len(true))
    error, distance = predicted[i, j].astype(np.float64) - true[i, j], true[i, j]
    known = ~np.isnan(error)
    parts = [np.histogram(distance[known], DISTANCE_EDGES, weights=weights)[0]
             for weights in (None, np.abs(error[known]), error[known])]  # fmt: skip
    return np.stack(parts)


def angle_mae(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean absolute difference of angles, radians (L, 2) given, degrees returned; periodic, where both are known."""
    known = np.isfinite(true) & np.isfinite(predicted)
    difference = predicted[known].astype(np.float64) - true[known]
    return float(np.degrees(np.abs((difference + np.pi) % (2 * np.pi) - np.pi)).mean()) if known.any() else np.nan


def roc_curve(scores: np.ndarray, is_contact: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """True positive rate at each false positive rate of `grid`, by linear interpolation."""
    _, true, false = threshold_counts(scores, is_contact)
    rates = np.append(0, false / max(1, false[-1])), np.append(0, true / max(1, true[-1]))
    return np.interp(grid, *rates)


def pr_curve(scores: np.ndarray, is_contact: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Precision at each recall of `grid`: that of the highest threshold which reaches it."""
    _, true, false = threshold_counts(scores, is_contact)
    reached = np.searchsorted(true / true[-1], grid - 1e-12)
    return (true / (true + false))[reached]


def reliability_sums(scores: np.ndarray, is_contact: np.ndarray, bins: int = 10) -> np.ndarray:
    """(3, bins): the number of pairs in equal bins of probability, the sum of their probabilities, their contacts."""
    index = np.clip((scores * bins).astype(int), 0, bins - 1)
    return np.stack([np.bincount(index, weights, minlength=bins) for weights in (None, scores, is_contact)])


def score_file(
    prediction: Path, native: Path, chain: str | None = None, model: str | None = None
) -> dict[str, float | int | None]:
    """`evaluate` of a prediction (see `read_prediction`) against a native, by residue number; None for NaN."""
    structure = read_model(native)
    probability = read_prediction(prediction, len(structure.sequence), chain, model)
    true = geometry.contact_map(geometry.distance_map(structure.coordinates, structure.sequence))
    return {key: None if np.isnan(value) else value for key, value in evaluate(probability, true).items()}


def read_prediction(path: Path, length: int, chain: str | None = None, model: str | None = None) -> np.ndarray:
    """Contact probabilities (L, L) from our predictions.h5 (`chain` names the entry), an npz or a CASP RR file (`model`
    names one of several).

    npz: the array `contact_probability`, or the only one. RR: pairs that are not listed get 0. Raises PredictionError.
    """
    path = Path(path)
    if not path.is_file():
        raise PredictionError(f"{path}: no such file")
    if path.suffix in _HDF5:
        probability = _read_hdf5(path, chain)
    elif path.suffix == ".npz":
        probability = _read_npz(path)
    else:
        probability = _read_casp(path, length, model)
    if probability.shape != (length, length):
        raise PredictionError(f"{path}: a map of shape {probability.shape}; the native has {length} residues")
    # In our own files NaN marks the pairs that no window saw.
    if not (np.isfinite(probability) | (np.isnan(probability) & (path.suffix in _HDF5))).all():
        raise PredictionError(f"{path}: a probability is not finite")
    return probability


def _read_hdf5(path, chain):
    with h5py.File(path) as file:
        if chain is None and len(file) == 1:
            (chain,) = file
        if chain is None or f"{chain}/contact_probability" not in file:
            first = ", ".join(list(file)[:10])
            raise PredictionError(f"{path}: name one of its {len(file)} chains with --id ({first}, ...)")
        return file[f"{chain}/contact_probability"][()]


def _read_npz(path):
    with np.load(path) as arrays:
        names = list(arrays)
        if "contact_probability" not in names and len(names) != 1:
            raise PredictionError(f"{path}: no array contact_probability among {', '.join(names)}")
        return arrays["contact_probability" if "contact_probability" in names else names[0]]


def _read_casp(path, length, model):
    """`i j 0 8 p` (CASP 12, 13) or, after an RMODE line, `i j p ...` (CASP 14, 15); three columns are `i j p`."""
    maps, current, column = {}, "1", None
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split()
        if not words or words[0] in _CASP_HEADERS or (len(words) == 1 and words[0].isalpha()):
            column = 2 if words[:1] == ["RMODE"] else column
            current = words[1] if words[:1] == ["MODEL"] and len(words) > 1 else current
            continue
        try:
            i, j = int(words[0]), int(words[1])
            value = float(words[column or (4 if len(words) == 5 else 2)])
        except (ValueError, IndexError):
            raise PredictionError(f"{path}, line {number}: not a pair of a CASP RR file: {line.strip()!r}") from None
        if not (1 <= i <= length and 1 <= j <= length):
            raise PredictionError(f"{path}, line {number}: pair {i} {j}; the native has {length} residues")
        probability = maps.setdefault(current, np.zeros((length, length)))
        probability[i - 1, j - 1] = probability[j - 1, i - 1] = value
    if not maps:
        raise PredictionError(f"{path}: lists no pair")
    if model is None and len(maps) == 1:
        (model,) = maps
    if model not in maps:
        raise PredictionError(f"{path}: name one of its {len(maps)} models with --model ({', '.join(maps)})")
    return maps[model]

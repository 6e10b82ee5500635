"""Contact, distance and angle metrics in NumPy, each defined once; predictions read from HDF5, npz or CASP RR.

Contact: CB-CB below 8 angstrom (CA for Gly) between resolved residues; maps hold 1, 0 and 255 for unresolved. A pair
is i < j with j - i >= 6; ranges: short 6-11, medium 12-23, long 24 and more. L residues, P pairs.
"""

from pathlib import Path

import h5py
import numpy as np
from scipy.stats import rankdata

from hardfold import geometry
from hardfold.geometry import UNRESOLVED
from hardfold.structure.parse import read_model

MIN_SEPARATION = 6
RANGES = {"long": (24, None), "medium": (12, 23), "short": (6, 11)}
FRACTIONS = {"p_at_l": 1, "p_at_l2": 2, "p_at_l5": 5}
PRECISION_KEYS = [f"{key}_{name}" for name in RANGES for key in FRACTIONS]
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
    i, j = pairs_in(len(contact_map), nearest, farthest)
    scores = (probability[i, j].astype(np.float64) + probability[j, i]) / 2
    scored = (contact_map[i, j] != UNRESOLVED) & ~np.isnan(scores)
    return scores[scored], contact_map[i, j][scored] == 1


def precision_at(scores: np.ndarray, is_contact: np.ndarray, count: int) -> float:
    """Share of contacts among the `count` best scored pairs, or among all where fewer exist; NaN without pairs.

    Pairs of equal score keep their order (by i, then j).
    """
    top = np.argsort(-scores, kind="stable")[:count]
    return float(is_contact[top].mean()) if len(top) else np.nan


def roc_auc(scores: np.ndarray, is_contact: np.ndarray) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic, ties counting one half; NaN where a class is absent."""
    positives = int(is_contact.sum())
    negatives = len(is_contact) - positives
    if not positives or not negatives:
        return np.nan
    return float((rankdata(scores)[is_contact].sum() - positives * (positives + 1) / 2) / (positives * negatives))


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


def best_threshold(scores: np.ndarray, is_contact: np.ndarray) -> float:
    """The score of largest F1 over the pairs given (the highest of equals). Raises ValueError without any contact."""
    if not is_contact.any():
        raise ValueError("no contact to choose a threshold by")
    thresholds, true, false = threshold_counts(scores, is_contact)
    return float(thresholds[np.argmax(2 * true / (true + false + true[-1]))])


def evaluate(probability: np.ndarray, contact_map: np.ndarray) -> dict[str, float | int]:
    """p_at_* by range, roc_auc, pr_auc, base_rate, pairs, pairs_unseen and length of one chain from (L, L) maps.

    P@L, P@L/2, P@L/5: precision of the best L // 1, 2, 5 pairs of the range (at least one), L counting unresolved
    residues too. Only resolved pairs are ranked, and of those only the ones with a probability: `pairs_unseen` counts
    the others.
    """
    length = len(contact_map)
    metrics = {}
    for name, separation in RANGES.items():
        scores, is_contact = resolved_pairs(probability, contact_map, *separation)
        for key, divisor in FRACTIONS.items():
            metrics[f"{key}_{name}"] = precision_at(scores, is_contact, max(1, length // divisor))
    scores, is_contact = resolved_pairs(probability, contact_map)
    metrics["roc_auc"] = roc_auc(scores, is_contact)
    metrics["pr_auc"] = pr_auc(scores, is_contact)
    metrics["base_rate"] = float(is_contact.mean()) if len(is_contact) else np.nan
    unseen = len(resolved_pairs(np.zeros_like(probability), contact_map)[0]) - len(is_contact)
    return {**metrics, "pairs": len(is_contact), "pairs_unseen": unseen, "length": length}


def distance_mae(predicted: np.ndarray, true: np.ndarray, max_distance: float) -> float:
    """Mean absolute error in angstrom over predicted pairs (j - i >= 6) of a known true distance <= max_distance."""
    i, j = pairs_in(len(true))
    near = (true[i, j] <= max_distance) & ~np.isnan(predicted[i, j])  # False for NaN
    i, j = i[near], j[near]
    return float(np.abs(predicted[i, j].astype(np.float64) - true[i, j]).mean()) if len(i) else np.nan


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


def reliability(scores: np.ndarray, is_contact: np.ndarray, bins: int = 10) -> dict[str, list]:
    """Mean predicted probability and observed frequency (None where empty) and count in equal bins of probability."""
    index = np.clip((scores * bins).astype(int), 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    parts = {}
    for name, values in (("predicted", scores), ("observed", is_contact)):
        totals = np.bincount(index, weights=values, minlength=bins)
        parts[name] = [float(total / n) if n else None for total, n in zip(totals, count, strict=True)]
    return {**parts, "count": count.tolist()}


def score_file(prediction: Path, native: Path, chain: str | None = None) -> dict[str, float | int | None]:
    """`evaluate` of a prediction (see `read_prediction`) against a native, by residue number; None for NaN."""
    structure = read_model(native)
    probability = read_prediction(prediction, len(structure.sequence), chain)
    true = geometry.contact_map(geometry.distance_map(structure.coordinates, structure.sequence))
    return {key: None if np.isnan(value) else value for key, value in evaluate(probability, true).items()}


def read_prediction(path: Path, length: int, chain: str | None = None) -> np.ndarray:
    """Contact probabilities (L, L) from our predictions.h5 (`chain` names the entry), an npz or a CASP RR file.

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
        probability = _read_casp(path, length)
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


def _read_casp(path, length):
    """`i j 0 8 p` (CASP 12, 13) or, after an RMODE line, `i j p ...` (CASP 14, 15); three columns are `i j p`."""
    probability = np.zeros((length, length))
    column = None
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.split()
        if not words or words[0] in _CASP_HEADERS or (len(words) == 1 and words[0].isalpha()):
            column = 2 if words[:1] == ["RMODE"] else column
            continue
        try:
            i, j = int(words[0]), int(words[1])
            value = float(words[column or (4 if len(words) == 5 else 2)])
        except (ValueError, IndexError):
            raise PredictionError(f"{path}, line {number}: not a pair of a CASP RR file: {line.strip()!r}") from None
        if not (1 <= i <= length and 1 <= j <= length):
            raise PredictionError(f"{path}, line {number}: pair {i} {j}; the native has {length} residues")
        probability[i - 1, j - 1] = probability[j - 1, i - 1] = value
    return probability

"""Metrics of predictions.h5 against the data set: by protein, their means with intervals, curves. Imports no torch.

Intervals are over the clusters of assignment.tsv: relatives are no independent evidence.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from hardfold import contacts, tables
from hardfold.contact.predictions import with_truth
from hardfold.dataset import Record
from hardfold.hdf5 import open_hdf5
from hardfold.leakage import SCORED
from hardfold.statistics import bootstrap_intervals

HALF = [f"{key}_0.5" for key in ("precision", "recall", "f1")]
METRICS = ["roc_auc", "pr_auc", "base_rate", "precision", "recall", "f1", "threshold", *contacts.PRECISION_KEYS]
METRICS += ["distance_mae", "angle_mae", *HALF]
_BY_PROTEIN = [key for key in METRICS if key != "threshold"]
_CURVE = np.linspace(0, 1, 101)


def score_contacts(
    *, predictions: Path, chains: Mapping[str, Path], assignment: Path, output: Path, resamples: int, seed: int
) -> None:
    """Write metrics.json: the threshold of the largest F1 over all pairs of the validation chains, and what `_section`
    makes of the test chains and of the targets. chains: split -> data set. Raises PredictionError where the predictions
    are not of the data set, ValueError where the validation chains have no contact.
    """
    clusters = tables.read(assignment, key="chain").set_index("chain")["cluster"]
    with open_hdf5(predictions) as file:
        counts = np.zeros((2, 2**16), int)
        for record, predicted in with_truth(file, "validation", chains["validation"]):
            pairs = contacts.resolved_pairs(predicted["contact_probability"], record.contact_map)
            counts += contacts.count_scores(*pairs)
        threshold, limit = contacts.best_threshold(counts), file.attrs.get("max_distance")
        result = {"experiment": file.attrs["experiment"], "threshold": threshold}
        for split in SCORED:
            scored = (score_chain(*chain, threshold, limit) for chain in with_truth(file, split, chains[split]))
            result[split] = _section(scored, clusters, threshold, resamples, seed)
    tables.write_json(output, result)


def score_chain(
    record: Record, predicted: Mapping[str, np.ndarray], threshold: float, max_distance: float | None
) -> tuple[dict, dict[str, np.ndarray]]:
    """(one protein's row of metrics, None where undefined or not predicted; what adds up over the proteins)."""
    truth = record.contact_map
    scores, is_contact, separation = contacts.ranked_pairs(predicted["contact_probability"], truth)
    row = contacts.evaluate_ranked(scores, is_contact, separation, truth)
    for end, level in (("", threshold), ("_0.5", 0.5)):
        values = contacts.precision_recall_f1(scores, is_contact, level)
        row |= {f"{key}{end}": value for key, value in zip(("precision", "recall", "f1"), values, strict=True)}
    sums = {"reliability": contacts.reliability_sums(scores, is_contact)}
    if not np.isnan(row["roc_auc"]):
        curves = [curve(scores, is_contact, _CURVE) for curve in (contacts.roc_curve, contacts.pr_curve)]
        sums["curves"] = np.stack([*curves, np.ones_like(_CURVE)])
    if "distance" in predicted:
        row["distance_mae"] = contacts.distance_mae(predicted["distance"], record.distance_map, max_distance)
        sums["distance"] = contacts.distance_error_sums(predicted["distance"], record.distance_map)
    if "angles" in predicted:
        row["angle_mae"] = contacts.angle_mae(predicted["angles"], record.angle_map)
    known = {key: None if np.isnan(row.get(key, np.nan)) else row[key] for key in _BY_PROTEIN}
    return {"chain": record.id, **{key: row[key] for key in ("length", "pairs", "pairs_unseen")}, **known}, sums


def _section(
    scored: Iterable[tuple[dict, dict]], clusters: Mapping[str, str], threshold: float, resamples: int, seed: int
) -> dict:
    """A split's part of metrics.json: proteins, pairs_unseen, metrics, by_protein, curves, reliability, distance_error.

    Curves are means over proteins on one grid, so that their areas are the mean areas; reliability and errors are over
    all pairs. What no protein has is null.
    """
    rows, sums = [], {}
    for row, parts in scored:
        rows.append(row)
        for key, values in parts.items():
            sums[key] = sums.get(key, 0) + values
    tpr, precision, proteins = sums.get("curves", np.zeros((3, len(_CURVE))))
    pairs, predicted, observed = sums.get("reliability", contacts.reliability_sums(np.empty(0), np.empty(0)))
    return {
        "proteins": len(rows),
        "pairs_unseen": sum(row["pairs_unseen"] for row in rows),
        "metrics": summarise(rows, clusters, threshold, resamples, seed),
        "by_protein": rows,
        "curves": {
            "roc": {"fpr": _CURVE.tolist(), "tpr": _means(tpr, proteins) if proteins.any() else None},
            "pr": {"recall": _CURVE.tolist(), "precision": _means(precision, proteins) if proteins.any() else None},
        },
        "reliability": _by_bin(pairs, predicted=predicted, observed=observed),
        "distance_error": _distance_error(*sums["distance"]) if "distance" in sums else None,
    }


def _distance_error(pairs, absolute, signed):
    centres = (contacts.DISTANCE_EDGES[:-1] + contacts.DISTANCE_EDGES[1:]) / 2
    return {"true": centres.tolist(), **_by_bin(pairs, mae=absolute, bias=signed)}


def _by_bin(pairs, **totals):
    return {**{key: _means(total, pairs) for key, total in totals.items()}, "count": pairs.astype(int).tolist()}


def _means(totals, counts):
    return [float(total / count) if count else None for total, count in zip(totals, counts, strict=True)]


def summarise(
    rows: list[dict], clusters: Mapping[str, str], threshold: float, resamples: int, seed: int
) -> dict[str, dict]:
    """Metric -> {value, low, high, n}: the mean over the n proteins that have it and its 95 % bootstrap interval over
    `clusters`, chain -> cluster.

    An interval needs FEWEST clusters (hardfold.statistics); the threshold, chosen elsewhere, has none.
    """
    values = np.array([[row[key] for key in _BY_PROTEIN] for row in rows], float).reshape(-1, len(_BY_PROTEIN))
    known = ~np.isnan(values)
    intervals = bootstrap_intervals(values, [clusters[row["chain"]] for row in rows], 0.95, resamples, seed)
    means = _means(np.where(known, values, 0).sum(0), known.sum(0))
    found = {"threshold": {"value": threshold, "low": None, "high": None, "n": len(rows)}}
    for key, value, (low, high), n in zip(_BY_PROTEIN, means, intervals.T.tolist(), known.sum(0).tolist(), strict=True):
        found[key] = {"value": value, "low": _known(low), "high": _known(high), "n": n}
    return {key: found[key] for key in METRICS}


def _known(value):
    return None if np.isnan(value) else value

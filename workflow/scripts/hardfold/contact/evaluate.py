"""Evaluation of a trained experiment on held-out chains: predictions, metrics by protein, intervals, curves."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from hardfold import contacts
from hardfold.contact.experiment import load_experiment
from hardfold.contact.model import ContactModel
from hardfold.contact.samples import Samples
from hardfold.contact.windows import cut, stitched
from hardfold.hdf5 import whole_hdf5
from hardfold.jobs import progress
from hardfold.statistics import bootstrap_interval
from hardfold.tables import write, write_json
from hardfold.training import device, seed_everything

METRICS = ["roc_auc", "pr_auc", "base_rate", "precision", "recall", "f1", "threshold", *contacts.PRECISION_KEYS]
METRICS += ["distance_mae", "angle_mae"]
_CURVE = np.linspace(0, 1, 101)


def evaluate_experiment(
    *,
    folder: Path,
    esm2: Path,
    esm_msa: Path | None,
    embeddings: Path,
    validation: Path,
    test: Path,
    metrics: Path,
    predictions: Path,
    resamples: int,
    threads: int,
) -> None:
    """Predict the chains of `test` with the experiment in `folder` and score them; the threshold is that of the largest
    F1 over the pairs of `validation`. Writes predictions.h5, and metrics.json computed from what that file holds.
    """
    model, config = load_experiment(folder, esm2, esm_msa)
    seed_everything(config["seed"], threads)
    model.to(device())
    threshold = _choose_threshold(model, Samples(validation, model, embeddings))
    samples, rows, pairs = Samples(test, model, embeddings), [], {}
    with whole_hdf5(predictions) as file:
        file.attrs.update(experiment=config["experiment"], split="test", min_separation=contacts.MIN_SEPARATION)
        for name, predicted in predict(model, samples):
            group = file.create_group(name)
            for key, values in predicted.items():
                group.create_dataset(key, data=values, compression="gzip", shuffle=True)
            record = samples.chains[name]
            rows.append(score_chain(name, predicted, record, threshold, config["options"]["max_distance"]))
            pairs[name] = contacts.resolved_pairs(predicted["contact_probability"], record.contact_map)
    rows.sort(key=lambda row: row["chain"])
    result = {
        "experiment": config["experiment"],
        "proteins": len(rows),
        "pairs_unseen": sum(row["pairs_unseen"] for row in rows),
        "split": "test",
        "threshold": threshold,
        "metrics": summarise(rows, threshold, resamples, config["seed"]),
        "by_protein": rows,
        **_curves([pairs[row["chain"]] for row in rows]),
    }
    write_json(metrics, result)


def predict(model: ContactModel, samples: Samples) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Each whole chain's id and predictions, as predictions.h5 holds them; NaN where no window sees a pair or residue.

    contact_probability (L, L) float16, distance (L, L) float16 in angstrom, angles (L, 2) float32 in radians.
    """
    lengths = dict(zip(samples.chains.ids, samples.lengths, strict=True))
    names = {"contact": "contact_probability", "distance": "distance", "angle": "angles"}
    for chain, whole, unseen in stitched(_windows(model, samples), lengths):
        if unseen:
            logging.info("%s: %d pairs are in no window", chain, unseen)
        kinds = {task: np.float32 if task == "angle" else np.float16 for task in whole}
        yield chain, {names[task]: values.astype(kinds[task]) for task, values in whole.items()}


def _windows(model, samples):
    batches = samples.windows()
    for batch in progress(batches, len(batches), f"batches of {samples.path} predicted"):
        with torch.inference_mode():
            yield from cut(model.predict(model({key: _to(value, device()) for key, value in batch.items()})), batch)


def _to(value, where):
    if isinstance(value, torch.Tensor):
        return value.to(where)
    return [_to(item, where) for item in value] if isinstance(value, list) else value


def _choose_threshold(model, samples) -> float:
    pairs = [
        contacts.resolved_pairs(predicted["contact_probability"], samples.chains[name].contact_map)
        for name, predicted in predict(model, samples)
    ]
    return contacts.best_threshold(*(np.concatenate(part) for part in zip(*pairs, strict=True)))


def score_chain(chain: str, predicted: Mapping, record, threshold: float, max_distance: float) -> dict:
    """One protein's metrics; None where undefined or not predicted."""
    scores = contacts.resolved_pairs(predicted["contact_probability"], record.contact_map)
    row = contacts.evaluate(predicted["contact_probability"], record.contact_map)
    row["precision"], row["recall"], row["f1"] = contacts.precision_recall_f1(*scores, threshold)
    if "distance" in predicted:
        row["distance_mae"] = contacts.distance_mae(predicted["distance"], record.distance_map, max_distance)
    if "angles" in predicted:
        row["angle_mae"] = contacts.angle_mae(predicted["angles"], record.angle_map)
    scored = {key: _known(row.get(key)) for key in METRICS if key != "threshold"}
    return {"chain": chain, **{key: row[key] for key in ("length", "pairs", "pairs_unseen")}, **scored}


def _known(value):
    return None if value is None or np.isnan(value) else value


def summarise(rows: list[dict], threshold: float, resamples: int, seed: int) -> dict[str, dict]:
    """Metric -> {value, low, high}: the mean over the proteins that have it and its 95 % bootstrap interval.

    An interval needs two proteins; the threshold, chosen elsewhere, has none.
    """
    summary = {key: _interval([row[key] for row in rows], resamples, seed) for key in METRICS if key != "threshold"}
    summary["threshold"] = {"value": threshold, "low": None, "high": None}
    return {key: summary[key] for key in METRICS}


def _interval(values, resamples, seed):
    values = np.array([value for value in values if value is not None])
    low, high = bootstrap_interval(values, 0.95, resamples, seed) or (None, None)
    return {"value": float(values.mean()) if len(values) else None, "low": low, "high": high}


def _curves(pairs):
    """Curves averaged over proteins on one grid, so that their areas are the mean areas; reliability over all pairs."""
    usable = [(scores, is_contact) for scores, is_contact in pairs if 0 < is_contact.sum() < len(is_contact)]
    tpr = [contacts.roc_curve(*pair, _CURVE) for pair in usable]
    precision = [contacts.pr_curve(*pair, _CURVE) for pair in usable]
    return {
        "curves": {
            "roc": {"fpr": _CURVE.tolist(), "tpr": np.mean(tpr, axis=0).tolist() if tpr else None},
            "pr": {"recall": _CURVE.tolist(), "precision": np.mean(precision, axis=0).tolist() if precision else None},
        },
        "reliability": contacts.reliability(*(np.concatenate(part) for part in zip(*pairs, strict=True))),
    }


def collect_experiments(metrics: list[Path], output: Path) -> None:
    """summary.tsv: one row an experiment, each metric with _low and _high beside it, and proteins."""
    columns = ["experiment", *(f"{key}{part}" for key in METRICS for part in ("", "_low", "_high")), "proteins"]
    rows = []
    for path in metrics:
        result = json.loads(Path(path).read_text())
        row = {"experiment": result["experiment"], "proteins": result["proteins"]}
        for key, interval in result["metrics"].items():
            row |= {key: interval["value"], f"{key}_low": interval["low"], f"{key}_high": interval["high"]}
        rows.append(row)
    write(output, rows, columns)

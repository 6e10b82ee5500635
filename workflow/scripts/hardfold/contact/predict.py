"""Predictions of a trained experiment for whole held-out chains."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from hardfold.contact.experiment import load_experiment
from hardfold.contact.model import ContactModel
from hardfold.contact.predictions import write_predictions
from hardfold.contact.samples import Samples
from hardfold.contact.windows import cut, stitched
from hardfold.dataset import Dataset
from hardfold.jobs import progress
from hardfold.training import device, seed_everything


def predict_experiment(
    *,
    folder: Path,
    esm2: Path,
    esm_msa: Path | None,
    embeddings: Path,
    chains: Mapping[str, Path],
    output: Path,
    threads: int,
) -> None:
    """Write predictions.h5 (see contact.predictions) of the experiment in `folder` for `chains`: split -> data set."""
    model, config = load_experiment(folder, esm2, esm_msa)
    seed_everything(config["seed"], threads)
    model.to(device())
    predicted = (
        (split, *chain)
        for split, path in chains.items()
        if len(Dataset(path))
        for chain in predict(model, Samples(path, model, embeddings))
    )
    capped = {"max_distance": config["options"]["max_distance"]} if config["options"]["use_distance"] else {}
    write_predictions(output, config["experiment"], predicted, **capped)


def predict(model: ContactModel, samples: Samples) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Each whole chain's id and predictions, as predictions.h5 holds them."""
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

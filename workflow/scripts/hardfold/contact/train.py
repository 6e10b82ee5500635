"""Training of one experiment, and the trained model read back."""

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file, save_file

from hardfold import backbones, weights
from hardfold.contact.model import ContactModel
from hardfold.contact.module import HISTORY, ContactModule
from hardfold.contact.samples import Samples
from hardfold.tables import whole_file, write_json
from hardfold.training import (
    History,
    ProgressLog,
    build_trainer,
    count_parameters,
    device,
    load_trained_state,
    peak_memory_mb,
    seed_everything,
)


def train_experiment(
    *,
    experiment: str,
    options: Mapping,
    seed: int,
    threads: int,
    train: Path,
    validation: Path,
    esm2: Path,
    esm_msa: Path | None,
    output: Path,
) -> None:
    """Train on the chains of `train`, keep the epoch of the largest ROC AUC on `validation`.

    esm2, esm_msa: folders of fetched weights. Writes model.safetensors (the trained parameters alone), config.json
    (which with the backbones rebuilds the model), history.csv and training.json into the folder `output`.
    """
    seed_everything(seed, threads)
    start, output = time.monotonic(), Path(output)
    model, records = build_model(options, esm2, esm_msa)
    model.to(device())
    with TemporaryDirectory() as cache:
        samples = {
            "train": Samples(train, model, Path(cache, "train.h5"), options["max_length"]),
            "validation": Samples(validation, model, Path(cache, "validation.h5")),
        }
        module = ContactModule(model, **samples, history=History(output / "history.csv", HISTORY), seed=seed)
        trainer = build_trainer(
            callbacks=[ProgressLog(experiment)],
            max_epochs=options["num_epochs"],
            reload_dataloaders_every_n_epochs=1,
        )
        fit_start = time.monotonic()
        trainer.fit(module)
        fit_seconds = time.monotonic() - fit_start
    if module.best_state is None:
        raise ValueError(f"{validation}: no chain has contacts, so no epoch is the best")
    with whole_file(output / "model.safetensors") as temporary:
        save_file(module.best_state, temporary)
    write_json(
        output / "config.json",
        {"experiment": experiment, "seed": seed, "options": dict(options), "weights": records},
    )
    write_json(
        output / "training.json",
        {
            "experiment": experiment,
            "seconds": round(time.monotonic() - start, 3),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "best_epoch": module.best_epoch,
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "residues_per_second": round(module.residues / fit_seconds, 1),
            "parameters": count_parameters(model),
            "weights": records,
            "loaded_keys": {name: len(encoder.state_dict()) for name, encoder in _encoders(model).items()},
        },
    )
    logging.info("best epoch %d, validation ROC AUC %.4f", module.best_epoch, module.best_roc_auc)


def build_model(options: Mapping, esm2: Path, esm_msa: Path | None) -> tuple[ContactModel, dict[str, dict]]:
    """The untrained model on its backbones, and each backbone's verified weights.json."""
    folders = {"esm2": esm2, "esm_msa": esm_msa if options["use_msa"] else None}
    records, loaded = {}, {"esm_msa": None}
    for key, folder in folders.items():
        if folder is not None:
            records[key] = weights.verify(folder)
            loaded[key] = backbones.load(Path(folder, f"{records[key]['name']}.pt"))
    return ContactModel(loaded["esm2"], loaded["esm_msa"], options), records


def load_experiment(folder: Path, esm2: Path, esm_msa: Path | None) -> tuple[ContactModel, dict]:
    """(trained model in eval mode, config.json). Raises ValueError if the backbones are not the trained ones."""
    config = json.loads(Path(folder, "config.json").read_text())
    model, records = build_model(config["options"], esm2, esm_msa)
    for key, record in config["weights"].items():
        if records[key]["files"] != record["files"]:
            raise ValueError(f"{folder}: trained on other weights of {record['name']} than those given")
    load_trained_state(model, load_file(Path(folder, "model.safetensors")))
    return model.eval(), config


def _encoders(model):
    return {"esm2": model.esm2.model} | ({"esm_msa": model.esm_msa.model} if model.esm_msa else {})

"""A contact model built from an experiment's options, and read back once it is trained."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from hardfold import backbones, weights
from hardfold.contact.model import ContactModel
from hardfold.training import CONFIG, load_trained_state, read_checkpoint


def build_model(options: Mapping, esm2: Path, esm_msa: Path | None) -> tuple[ContactModel, dict[str, dict]]:
    """The untrained model on its backbones, and each backbone's verified weights.json."""
    folders = {"esm2": esm2, "esm_msa": esm_msa if options["use_msa"] else None}
    records, loaded = {}, {"esm_msa": None}
    for key, folder in folders.items():
        if folder is not None:
            records[key] = weights.verify(folder)
            loaded[key] = backbones.load(Path(folder, f"{records[key]['name']}.pt"))
    model = ContactModel(loaded["esm2"], loaded["esm_msa"], options)
    for key, encoder in model.encoders().items():
        encoder.weights = records[key]["files"][f"{records[key]['name']}.pt"]
    return model, records


def load_experiment(folder: Path, esm2: Path, esm_msa: Path | None) -> tuple[ContactModel, dict]:
    """(trained model in eval mode, config.json). Raises ValueError if the backbones are not the trained ones."""
    config = json.loads(Path(folder, CONFIG).read_text())
    model, records = build_model(config["options"], esm2, esm_msa)
    load_weights(model, records, Path(folder, "model.safetensors"))
    return model.eval(), config


def load_weights(model: ContactModel, records: Mapping[str, Mapping], path: Path) -> None:
    """Put what was trained, a model.safetensors or a checkpoint of the Trainer, into the model.

    records: of the model's backbones, see `build_model`. Raises ValueError where config.json beside `path` names other
    backbones, where it is damaged, where a trained parameter is missing, unexpected or of another shape.
    """
    path = Path(path)
    for key, record in json.loads(path.with_name(CONFIG).read_text())["weights"].items():
        if key not in records or records[key]["files"] != record["files"]:
            raise ValueError(f"{path}: trained on other weights of {record['name']} than those given")
    state = read_checkpoint(path)
    state = state.get("state_dict", state)
    try:
        load_trained_state(model, state)
    except ValueError as fault:
        raise ValueError(f"{path}: {fault}") from None
    logging.info("%s: %d trained tensors loaded, none missing, none unexpected", path, len(state))

"""A small ESMFold architecture from scratch, on the frozen ESM-2 of `train_sequence_model`."""

import time
from pathlib import Path

from hardfold import backbones
from hardfold.folding.model import build_model, folding_config, save_model
from hardfold.folding.module import HISTORY, ChainSet, Crops, FoldingModule
from hardfold.pretraining.data import load_stretches
from hardfold.tables import write_json
from hardfold.trainer import ProgressLog, build_trainer
from hardfold.training import History, count_parameters, device, seed_everything

# What fine-tuning lets its users choose.
FIXED = {"schedule": "cosine", "accumulate_batches": 1, "patience": 0, "precision": "32-true"}


class PretrainingModule(FoldingModule):
    """FAPE without a clamp at first (clamped, an untrained model gets no gradient), mixed after `clamp_from` steps;
    the learning rate falls as a cosine to a tenth."""

    def __init__(self, model, train, validation, history, *, settings: dict, seed: int):
        super().__init__(
            model,
            train,
            validation,
            history,
            weights={name: settings[name] for name in ("fape", "fape_clamped", "confidence", "contact")}
            | {"fape_blocks": ()},
            settings=settings | {"batch_size": settings["batch"]} | FIXED,
            recycles=settings["recycles"],
            chunk_size=0,
            seed=seed,
        )

    def training_step(self, batch, index):
        clamped = self.settings["fape_clamped"] if self.global_step >= self.settings["clamp_from"] else 0.0
        self.weights = {**self.weights, "fape_clamped": clamped}
        return super().training_step(batch, index)


def train_folding_model(
    data: Path, stem: Path, folder: Path, name: str, settings: dict, seed: int, threads: int
) -> None:
    """Train trunk, structure module and heads on `select_data`'s stretches; the stem (an ESM-2 .pt) stays frozen.

    settings: trunk (of TrunkConfig), confidence_width, crop, batch, steps, warmup, learning_rate, validate_every,
    validation_chains, clamp_from, recycles and the weights fape, fape_clamped, confidence, contact. Writes config.json,
    model.safetensors (fp16), history.csv and training.json.
    """
    seed_everything(seed, threads)
    language_model, _ = backbones.load(stem)
    size = {
        "num_hidden_layers": language_model.num_layers,
        "hidden_size": language_model.embed_dim,
        "num_attention_heads": language_model.attention_heads,
    }
    model = build_model(folding_config(size, settings["trunk"], settings["confidence_width"]))
    state = backbones.to_transformers(language_model.state_dict())
    model.esm.load_state_dict(
        {key.removeprefix("esm."): value for key, value in state.items() if key.startswith("esm.")}, strict=False
    )
    model.esm.requires_grad_(False)
    chains = {group: ChainSet(load_stretches(data, group)) for group in ("train", "validation")}
    held_out = chains["validation"]
    chains["validation"] = ChainSet({id: held_out[id] for id in held_out.ids[: settings["validation_chains"]]})
    folder.mkdir(parents=True, exist_ok=True)
    history = History(folder / "history.csv", HISTORY)
    crops = [Crops(chains["train"], settings["crop"]), Crops(chains["validation"])]
    module = PretrainingModule(model, *crops, history, settings=settings, seed=seed).train()
    start = time.monotonic()
    trainer = build_trainer(
        max_epochs=module.intervals,
        callbacks=[ProgressLog(name, steps=settings["steps"])],
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module)
    seconds = time.monotonic() - start
    save_model(model, folder, half=True)
    last = history.rows[-1]
    report = {
        "model": name,
        "settings": settings,
        "parameters": count_parameters(model),
        "records": {group: len(members.ids) for group, members in chains.items()},
        "validation_tm": float(last["validation_tm"]),
        "validation_lddt": float(last["validation_lddt"]),
        "validation_loss": float(last["validation_loss"]),
        "seconds": seconds,
        "device": device().type,
        "threads": threads,
    }
    write_json(folder / "training.json", report)

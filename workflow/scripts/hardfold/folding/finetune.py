"""Fine-tuning a folding model by LoRA: the run of one arm and seed, its history and its record."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from hardfold import scoring
from hardfold.folding.adapters import adapted_modules, add_adapter, save_adapter
from hardfold.folding.losses import CA
from hardfold.folding.model import checkpoint_blocks, load_model
from hardfold.folding.module import (
    PARTS,
    Chains,
    Crops,
    FoldingModule,
    collate,
    fold,
    loss_parts,
    plan_steps,
    weighted_sum,
)
from hardfold.folding.predict import fold_sequence
from hardfold.tables import write_json
from hardfold.trainer import ProgressLog, build_trainer
from hardfold.training import History, count_parameters, device, peak_memory_mb, seed_everything
from hardfold.weights import verify

VALIDATION = ("validation_loss", *(f"validation_{part}" for part in PARTS), "validation_tm", "validation_lddt")
HISTORY = ["step", "learning_rate", "loss", *PARTS, "gradient_norm", *VALIDATION]
STEP0_CHAINS = 3  # validation chains, the shortest, on which step 0 is compared with the untouched model
STEP0_TOLERANCE = 1e-4  # angstrom; on a CPU the difference is 0
PLATEAU = 0.01


@torch.no_grad()
def validate(model: nn.Module, chains: Chains, weights: Mapping[str, float], recycles: int) -> dict[str, float]:
    """Means over the whole chains, one at a time: loss and its parts, TM-score and lDDT-CA of the prediction."""
    place, rows = next(model.parameters()).device, []
    for index in range(len(chains.ids)):
        batch = to_device(collate([Crops(chains)[index, 0]]), place)
        output = fold(model, batch, recycles)
        parts = loss_parts(output, batch, weights["fape_clamped"])
        resolved = batch["resolved"][0].cpu().numpy()
        predicted = output.frames[-1, 0, :, 4:].cpu().numpy()[resolved]
        native = batch["coordinates"][0, :, CA].cpu().numpy()[resolved]
        scores = {"tm": scoring.tm_score(predicted, native), "lddt": scoring.lddt_ca(predicted, native)}
        parts = {"loss": weighted_sum(parts, weights), **parts}
        rows.append({name: float(value) for name, value in (parts | scores).items()})
    return {f"validation_{name}": float(np.mean([row[name] for row in rows])) for name in rows[0]}


def to_device(batch: Mapping, place: torch.device) -> dict:
    """The batch with its tensors on `place`."""
    return {name: value.to(place) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


class Recorder(lightning.Callback):
    """A history row a step; the validation chains at step 0, every `every` steps and after the last."""

    def __init__(self, history: History, chains: Chains, every: int, steps: int):
        self.history, self.chains, self.every, self.steps = history, chains, every, steps
        self.validated: dict[int, float] = {}

    def on_train_start(self, trainer, module):
        self.history.append({"step": 0, **self._validate(module, 0)})

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        step = trainer.global_step
        due = step % self.every == 0 or step == self.steps
        self.history.append({"step": step, **module.step_figures, **(self._validate(module, step) if due else {})})

    def _validate(self, module, step):
        module.eval()
        figures = validate(module.model, self.chains, module.weights, module.recycles)
        module.train()
        self.validated[step] = figures["validation_loss"]
        message = "step %d: validation loss %.4f, TM-score %.3f"
        logging.info(message, step, figures["validation_loss"], figures["validation_tm"])
        return figures


def convergence(validated: Mapping[int, float]) -> dict:
    """Whether the validation loss (step -> loss) has levelled off: criterion in words, value, met.

    Over the last third of the run, a straight line through the losses changes by less than 1 % of their mean.
    """
    criterion = f"validation loss changes by less than {PLATEAU:.0%} over the last third of the steps (linear fit)"
    steps = np.array([step for step in sorted(validated) if 3 * step >= 2 * max(validated)])
    if len(steps) < 2:
        return {"criterion": criterion, "met": False, "value": None}
    losses = np.array([validated[step] for step in steps])
    change = abs(np.polyfit(steps, losses, 1)[0]) * (steps[-1] - steps[0]) / abs(losses.mean())
    return {"criterion": criterion, "met": bool(change < PLATEAU), "value": float(change)}


def step0_difference(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    """The largest shift of an atom, angstrom, between lists of predictions (L, 5, 3) of the same sequences."""
    if any(not np.array_equal(np.isnan(a), np.isnan(b)) for a, b in zip(before, after, strict=True)):
        return float("inf")  # an atom that came or went
    return max(float(np.nanmax(np.linalg.norm(a - b, axis=-1))) for a, b in zip(before, after, strict=True))


def finetune(
    *,
    arm: str,
    seed: int,
    weights: Path,
    train: Chains,
    validation: Chains,
    output: Path,
    options: Mapping,
    threads: int,
) -> None:
    """Adapt the model in `weights` to the chains of `train`; write adapter/, history.csv and training.json to `output`.

    train, validation: a `Dataset`, or what reads like one (`module.ChainSet`). options: the configuration's adapter,
    training, losses and recycles. Raises NonFiniteLoss, naming the chains, where a loss or gradient is not finite.
    """
    start, output = time.monotonic(), Path(output)
    seed_everything(seed, threads)
    settings, recycles = options["training"], options["recycles"]
    source = verify(weights)
    model, _ = load_model(weights)
    model.to(device())
    if device().type == "cuda":
        checkpoint_blocks(model)
    sequences = sorted((validation[id].sequence for id in validation.ids), key=len)[:STEP0_CHAINS]
    before = [fold_sequence(model, sequence, recycles)[0] for sequence in sequences]
    adapted = add_adapter(model, **options["adapter"]).eval()
    difference = step0_difference(before, [fold_sequence(adapted, sequence, recycles)[0] for sequence in sequences])
    if not difference <= STEP0_TOLERANCE:
        raise RuntimeError(f"the untrained adapter moves atoms by up to {difference:.2g} angstrom")

    module = FoldingModule(
        adapted,
        weights=options["losses"],
        recycles=recycles,
        learning_rate=settings["learning_rate"],
        warmup=settings["warmup"],
    ).train()
    lengths = [len(train[id].sequence) for id in train.ids]
    plan = plan_steps(lengths, settings["steps"], settings["batch_size"], settings["crop"], seed)
    loader = DataLoader(Crops(train, settings["crop"]), batch_sampler=plan, collate_fn=collate)
    history = History(output / "history.csv", HISTORY)
    recorder = Recorder(history, validation, settings["validate_every"], settings["steps"])
    trainer = build_trainer(callbacks=[recorder, ProgressLog(f"{arm}, seed {seed}")], max_epochs=1)
    fit_start = time.monotonic()
    trainer.fit(module, loader)
    fit_seconds = time.monotonic() - fit_start

    save_adapter(adapted, output / "adapter")
    parameters = count_parameters(adapted)
    content = {
        "arm": arm,
        "seed": seed,
        "steps": settings["steps"],
        "learning_rate": settings["learning_rate"],
        "trainable_parameters": parameters["trainable"],
        "total_parameters": parameters["total"],
        "adapted_modules": adapted_modules(adapted),
        "chains": len(train.ids),
        "step0_max_difference": difference,
        "convergence": convergence(recorder.validated),
        "weights": source,
        "seconds": time.monotonic() - start,
        "peak_memory_mb": peak_memory_mb(),
        "tokens_per_second": module.residues / fit_seconds,
    }
    write_json(output / "training.json", content)

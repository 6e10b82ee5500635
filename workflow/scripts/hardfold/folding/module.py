"""The training of the folding track: crops of chains, weighted losses, steps, validation, what a run goes on from."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from hardfold import scoring
from hardfold.batches import pad, plan_epoch
from hardfold.distributed import rank, ranks, summed
from hardfold.folding import losses
from hardfold.folding.alignment import NAME, AlignmentFeatures, collate_features
from hardfold.folding.model import encode, fold, to_device
from hardfold.trainer import warmup_cosine
from hardfold.training import History, NonFiniteLoss, load_trained_state, require_finite, seed_batch, trained_state

PARTS = ("fape", "confidence", "contact")
LEAST_RESOLVED = 10  # residues of a crop
VALIDATION = ("validation_loss", *(f"validation_{part}" for part in PARTS), "validation_tm", "validation_lddt")
HISTORY = ["step", "learning_rate", "loss", *PARTS, "gradient_norm", *VALIDATION]


class Chains(Protocol):
    """Chains by id: a `Dataset`, or a `ChainSet`. A chain has sequence, coordinates (L, 5, 3) and mask (L,)."""

    ids: list[str]

    def __getitem__(self, id: str): ...


class ChainSet(dict):
    """Chains by id in memory, or a part of them: read like a `Dataset`."""

    @property
    def ids(self) -> list[str]:
        return sorted(self)


@dataclass(frozen=True)
class Sample:
    """A stretch of a chain: sequence of l letters, coordinates (l, 5, 3) angstrom with NaN, resolved (l,) bool, and
    where the model reads alignments what `AlignmentFeatures.read` gives."""

    id: str
    sequence: str
    coordinates: Tensor
    resolved: Tensor
    alignment: tuple[Tensor, Tensor] | None = None


class Crops:
    """The chains in memory, cut: item (index, start) holds at most `length` residues from `start`, or all; what
    `alignments` has of them is read when an item is. A stretch of fewer than LEAST_RESOLVED residues, which would teach
    little or nothing, gives way to the nearest one that has as many, or of a chain that has none the most."""

    def __init__(self, chains: Chains, length: int | None = None, alignments: AlignmentFeatures | None = None):
        self.length, self.chains, self.alignments = length, [], alignments
        for id in chains.ids:
            chain = chains[id]
            resolved = torch.as_tensor(chain.mask)
            self.chains.append(Sample(id, chain.sequence, torch.as_tensor(chain.coordinates), resolved))

    def __len__(self) -> int:
        return len(self.chains)

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        index, start = place
        chain = self.chains[index]
        if self.length:
            start = resolved_start(chain.resolved, start, self.length)
        cut = slice(start, start + self.length if self.length else None)
        sequence = chain.sequence[cut]
        alignment = self.alignments and self.alignments.read(chain.id, start, start + len(sequence))
        return Sample(chain.id, sequence, chain.coordinates[cut], chain.resolved[cut], alignment)


def resolved_start(resolved: Tensor, start: int, length: int) -> int:
    """Of the starts of stretches of `length` in `resolved` (L,) bool that hold LEAST_RESOLVED resolved residues, or
    where there are none the most, the nearest to `start`; of two the first."""
    counts = resolved.unfold(0, min(length, len(resolved)), 1).sum(1)  # (starts,)
    starts = torch.nonzero(counts >= min(LEAST_RESOLVED, int(counts.max())))[:, 0]
    return int(starts[(starts - start).abs().argmin()])


def collate(samples: list[Sample]) -> dict:
    """ids, aatype, mask and residue_index (B, L), coordinates (B, L, 5, 3), resolved (B, L), and of samples with an
    alignment profile (B, L, 21) and couplings (B, L, L); padded on the right."""
    aatype, mask, residue_index = encode([sample.sequence for sample in samples])
    features = [sample.alignment for sample in samples if sample.alignment]
    return {
        "ids": [sample.id for sample in samples],
        "aatype": aatype,
        "mask": mask,
        "residue_index": residue_index,
        "coordinates": pad([sample.coordinates for sample in samples], torch.nan),
        "resolved": pad([sample.resolved for sample in samples], False),
        **(collate_features(features) if features else {}),
    }


def plan_steps(lengths: list[int], steps: int, batch_size: int, crop: int, seed: int) -> list[list[tuple[int, int]]]:
    """The batches of a whole run, (index, start of the crop): each chain once before any comes again. Raises ValueError
    where there are no chains."""
    if not lengths:
        raise ValueError("no chain to train on")
    generator, batches = np.random.default_rng(seed), []
    while len(batches) < steps:
        batches += plan_epoch(lengths, batch_size, crop, generator)
    return batches[:steps]


def loss_parts(output, batch: Mapping, weights: Mapping) -> dict[str, Tensor]:
    """fape (over structure-module blocks), confidence and contact (distogram), each (B,), unweighted.

    weights: of the configuration's losses; fape_clamped and fape_blocks count here, the rest in `weighted_sum`.
    """
    coordinates, resolved = batch["coordinates"], batch["resolved"]
    rotations, translations = losses.frames_from_output(output.frames)
    true_rotations, true_translations = losses.frames_from_coordinates(coordinates)
    fape = losses.fape(rotations, translations, true_rotations, true_translations, resolved, weights["fape_clamped"])
    lddt = losses.lddt_ca(translations[-1], true_translations, resolved)
    return {
        "fape": losses.weighted_blocks(fape, weights["fape_blocks"]),
        "confidence": losses.confidence_loss(output.lddt_head[-1][:, :, losses.CA], lddt, resolved),
        "contact": losses.distogram_loss(output.distogram_logits, losses.representative_atoms(coordinates), resolved),
    }


def weighted_sum(parts: Mapping[str, Tensor], weights: Mapping) -> Tensor:
    """The total loss, (B,)."""
    return sum(weights[name] * parts[name] for name in PARTS)


@torch.no_grad()
def validate(
    model: nn.Module, whole: Crops, weights: Mapping, recycles: int, chunk_size: int = 0, step: int = 0
) -> dict[str, float]:
    """Means over whole chains, one at a time, in fp32: loss and parts, TM-score and lDDT-CA of the prediction.

    Of several processes each folds every so many chain.

    Raises NonFiniteLoss, naming the chain and the step.
    """
    place = next(model.parameters()).device
    rows = {name: [] for name in ("loss", *PARTS, "tm", "lddt")}
    for index in range(rank(), len(whole), ranks()):
        batch = to_device(collate([whole[index, 0]]), place)
        output = fold(model, batch, recycles, chunk_size)
        parts = loss_parts(output, batch, weights)
        total = weighted_sum(parts, weights)
        require_finite(total, batch["ids"], step)
        resolved = batch["resolved"][0].cpu().numpy()
        predicted = output.frames[-1, 0, :, 4:].cpu().numpy()[resolved]
        native = batch["coordinates"][0, :, losses.CA].cpu().numpy()[resolved]
        scores = {"tm": scoring.tm_score(predicted, native), "lddt": scoring.lddt_ca(predicted, native)}
        for name, value in {"loss": total, **parts, **scores}.items():
            rows[name].append(float(value))
    sums = summed([float(np.sum(values)) for values in rows.values()])
    return {f"validation_{name}": figure / len(whole) for name, figure in zip(rows, sums, strict=True)}


class FoldingModule(lightning.LightningModule):
    """Trains what is trainable of `model` and adds a row a step to `history`; the validation chains are folded at step
    0, every `validate_every` steps and at the last.

    An epoch of the Trainer is such an interval. Its crops come from a plan of the whole run, a batch's dropout from the
    seed and the batch's place in the run: a run that was cut short goes on at an interval's end as if it had not been.
    Of several processes each takes every so many crop of a batch; their mean gradient is that of the batch.

    settings: the configuration's training. With `patience`, training stops after so many validations without a lower
    loss, and `best` holds the step, loss and trained parameters of the lowest. `residues` trained on and `seconds` of
    training and of validation include those of earlier processes, `earlier_seconds`.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Crops,
        validation: Crops,
        history: History,
        *,
        weights: Mapping,
        settings: Mapping,
        recycles: int,
        chunk_size: int,
        seed: int,
    ):
        super().__init__()
        self.model, self.train_crops, self.validation_chains, self.history = model, train, validation, history
        self.weights, self.settings, self.recycles, self.chunk_size = weights, settings, recycles, chunk_size
        self.seed, self.best = seed, None
        lengths = [len(chain.sequence) for chain in train.chains]
        batches = settings["steps"] * settings["accumulate_batches"]
        self.intervals = math.ceil(settings["steps"] / settings["validate_every"])
        self.plan = plan_steps(lengths, batches, settings["batch_size"], settings["crop"], seed)
        self.parts: list[dict[str, float]] = []  # of the batches since the last step
        self.residues, self.seconds = 0, {"training_seconds": 0.0, "validation_seconds": 0.0}
        self.earlier_seconds = 0.0

    def configure_optimizers(self) -> dict:
        settings, trained = self.settings, [item for item in self.model.named_parameters() if item[1].requires_grad]
        groups = [{"params": [value for name, value in trained if f"trunk.{NAME}." not in name]}]
        if alignment := getattr(self.model.trunk, NAME, None):
            groups.append({"params": [*alignment.parameters()], "lr": settings["alignment_learning_rate"]})
        optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"])
        if settings["schedule"] == "cosine":
            schedule = warmup_cosine(optimizer, settings["warmup"], settings["steps"])
        else:
            schedule = LambdaLR(optimizer, lambda step: warmup_factor(step, settings["warmup"]))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        batches = self.settings["accumulate_batches"]
        first, count = self.global_step * batches, self.settings["validate_every"] * batches
        own = [own_share(batch) for batch in self.plan[first : first + count]]
        return DataLoader(self.train_crops, batch_sampler=own, collate_fn=collate)

    def on_train_start(self) -> None:
        if self.history.rows:
            self._stop_if_patience_is_out()  # the run was cut short after its last step
        else:
            self.history.append({"step": 0, **self._validate()})

    def on_train_batch_start(self, batch: Mapping, index: int) -> None:
        self.begun = time.monotonic()
        seed_batch(self.seed, self.global_step, len(self.parts), rank())

    def training_step(self, batch: Mapping, index: int) -> Tensor:
        # The cache of autocast would give the last recycle weights that were cast without gradients.
        reduced = self.settings["precision"] == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced, cache_enabled=False):
            output = fold(self.model, batch, self.recycles)
        parts = loss_parts(output, batch, self.weights)
        total = weighted_sum(parts, self.weights)
        self.ids = batch["ids"]
        require_finite(total, self.ids, self.global_step)
        whole = len(self.plan[self.global_step * self.settings["accumulate_batches"] + len(self.parts)])
        share = len(range(rank(), whole, ranks())) / whole  # of the batch, 0 where a process folds a crop of another
        means = [share * float(value.detach().mean()) for value in (total, *(parts[name] for name in PARTS))]
        residues, *means = summed([float(batch["mask"].sum()) if share else 0.0, *means])
        self.residues += int(residues)
        self.parts.append(dict(zip(("loss", *PARTS), means, strict=True)))
        return total.mean() * share * ranks()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"the gradient is not finite at step {self.global_step}; batch: {', '.join(self.ids)}")
        self.step_figures = {"gradient_norm": norm, "learning_rate": optimizer.param_groups[0]["lr"]}

    def on_train_batch_end(self, outputs, batch: Mapping, index: int) -> None:
        self.seconds["training_seconds"] += time.monotonic() - self.begun
        if len(self.parts) < self.settings["accumulate_batches"]:
            return
        means = {name: float(np.mean([part[name] for part in self.parts])) for name in self.parts[0]}
        step, self.parts = self.global_step, []
        due = step % self.settings["validate_every"] == 0 or step == self.settings["steps"]
        self.history.append({"step": step, **means, **self.step_figures, **(self._validate() if due else {})})
        self._stop_if_patience_is_out()

    def _validate(self) -> dict[str, float]:
        begun, step = time.monotonic(), self.global_step
        self.eval()
        figures = self.measure(self.validation_chains)
        self.train()
        message = "step %d: validation loss %.4f, TM-score %.3f"
        logging.info(message, step, figures["validation_loss"], figures["validation_tm"])
        loss = figures["validation_loss"]
        if self.settings["patience"] and (self.best is None or loss < self.best["loss"]):
            self.best = {"step": step, "loss": loss, "state": trained_state(self.model)}
        self.seconds["validation_seconds"] += time.monotonic() - begun
        return figures

    def measure(self, chains: Crops) -> dict[str, float]:
        """`validate` on these chains, of the model as it is."""
        return validate(self.model, chains, self.weights, self.recycles, self.chunk_size, self.global_step)

    def _stop_if_patience_is_out(self) -> None:
        if self.best:
            since = [step for step in validated(self.history) if step > self.best["step"]]
            self.trainer.should_stop = len(since) >= self.settings["patience"]

    def state_dict(self, *arguments, **settings):
        """What is trained alone: the rest comes from the model's own files."""
        return trained_state(self.model)

    def load_state_dict(self, state, strict=True):
        load_trained_state(self.model, state)

    def on_save_checkpoint(self, checkpoint):
        spent = {"residues": self.residues, "seconds": self.seconds}
        checkpoint["run"] = {"history": self.history.rows, "best": self.best, **spent}

    def on_load_checkpoint(self, checkpoint):
        run = checkpoint["run"]
        self.history.restore(run["history"])
        self.best, self.residues, self.seconds = run["best"], run["residues"], run["seconds"]
        self.earlier_seconds = sum(self.seconds.values())


def own_share(batch: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The crops of a batch that this process folds; where they are fewer than the processes at least the first."""
    return batch[rank() :: ranks()] or batch[:1]


def validated(history: History) -> dict[int, float]:
    """Step -> validation loss."""
    return {int(row["step"]): float(row["validation_loss"]) for row in history.rows if row["validation_loss"]}


def warmup_factor(step: int, warmup: int) -> float:
    """Share of the learning rate at a step counted from 0: rises to 1 over `warmup` steps, then stays."""
    return min(1.0, (step + 1) / (warmup + 1))

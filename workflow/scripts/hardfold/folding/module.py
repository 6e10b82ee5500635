"""The training step of the folding track: crops of chains, the weighted losses, optimiser and warm-up."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hardfold.batches import pad, plan_epoch
from hardfold.folding import losses
from hardfold.folding.model import encode
from hardfold.training import NonFiniteLoss, require_finite

PARTS = ("fape", "confidence", "contact")


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
    """A stretch of a chain: sequence of l letters, coordinates (l, 5, 3) angstrom with NaN, resolved (l,) bool."""

    id: str
    sequence: str
    coordinates: Tensor
    resolved: Tensor


class Crops:
    """The chains, cut: item (index, start) holds at most `length` residues from `start`, or all."""

    def __init__(self, chains: Chains, length: int | None = None):
        self.chains, self.ids, self.length = chains, chains.ids, length

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        index, start = place
        record = self.chains[self.ids[index]]
        stretch = slice(start, start + self.length if self.length else None)
        return Sample(
            self.ids[index],
            record.sequence[stretch],
            torch.as_tensor(record.coordinates[stretch]),
            torch.as_tensor(record.mask[stretch]),
        )


def collate(samples: list[Sample]) -> dict:
    """ids, aatype, mask and residue_index (B, L), coordinates (B, L, 5, 3), resolved (B, L), padded on the right."""
    aatype, mask, residue_index = encode([sample.sequence for sample in samples])
    return {
        "ids": [sample.id for sample in samples],
        "aatype": aatype,
        "mask": mask,
        "residue_index": residue_index,
        "coordinates": pad([sample.coordinates for sample in samples], torch.nan),
        "resolved": pad([sample.resolved for sample in samples], False),
    }


def plan_steps(lengths: list[int], steps: int, batch_size: int, crop: int, seed: int) -> list[list[tuple[int, int]]]:
    """The batches of a whole run, (index, start of the crop): each chain once before any comes again."""
    generator, batches = np.random.default_rng(seed), []
    while len(batches) < steps:
        batches += plan_epoch(lengths, batch_size, crop, generator)
    return batches[:steps]


def fold(model: nn.Module, batch: Mapping, recycles: int):
    """The model's output for a batch after `recycles` + 1 passes; only the last has gradients."""
    return model(
        batch["aatype"],
        attention_mask=batch["mask"],
        position_ids=batch["residue_index"],
        num_recycles=recycles,
    )


def loss_parts(output, batch: Mapping, clamped: float) -> dict[str, Tensor]:
    """fape (mean over structure-module blocks), confidence and contact (distogram), each (B,)."""
    coordinates, resolved = batch["coordinates"], batch["resolved"]
    rotations, translations = losses.frames_from_output(output.frames)
    true_rotations, true_translations = losses.frames_from_coordinates(coordinates)
    fape = losses.fape(rotations, translations, true_rotations, true_translations, resolved, clamped)
    lddt = losses.lddt_ca(translations[-1], true_translations, resolved)
    return {
        "fape": fape.mean(0),
        "confidence": losses.confidence_loss(output.lddt_head[-1][:, :, losses.CA], lddt, resolved),
        "contact": losses.distogram_loss(output.distogram_logits, losses.representative_atoms(coordinates), resolved),
    }


def weighted_sum(parts: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The total loss, (B,)."""
    return sum(weights[name] * parts[name] for name in PARTS)


class FoldingModule(lightning.LightningModule):
    """Trains what is trainable of `model`; keeps the last step's figures in `step_figures` for the history."""

    def __init__(
        self, model: nn.Module, *, weights: Mapping[str, float], recycles: int, learning_rate: float, warmup: int
    ):
        super().__init__()
        self.model, self.weights, self.recycles = model, weights, recycles
        self.learning_rate, self.warmup = learning_rate, warmup
        self.step_figures: dict[str, float] = {}
        self.residues = 0

    def training_step(self, batch: Mapping, index: int) -> Tensor:
        parts = loss_parts(fold(self.model, batch, self.recycles), batch, self.weights["fape_clamped"])
        total = weighted_sum(parts, self.weights)
        require_finite(total, batch["ids"], self.global_step)
        self.ids, self.residues = batch["ids"], self.residues + int(batch["mask"].sum())
        means = {name: float(value.detach().mean()) for name, value in parts.items()}
        self.step_figures = {"loss": float(total.detach().mean()), **means}
        return total.mean()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"the gradient is not finite at step {self.global_step}; batch: {', '.join(self.ids)}")
        self.step_figures |= {"gradient_norm": norm, "learning_rate": optimizer.param_groups[0]["lr"]}

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self._trained(), lr=self.learning_rate)
        schedule = LambdaLR(optimizer, lambda step: warmup_factor(step, self.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _trained(self) -> Iterator[nn.Parameter]:
        return (parameter for parameter in self.parameters() if parameter.requires_grad)


def warmup_factor(step: int, warmup: int) -> float:
    """Share of the learning rate at a step counted from 0: rises to 1 over `warmup` steps, then stays."""
    return min(1.0, (step + 1) / (warmup + 1))

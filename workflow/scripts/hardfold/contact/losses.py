"""Losses of the contact track: pure functions that return a sum and a count by sample, (B,) each.

What is masked (contact 255, distance or angle NaN) enters neither. The loss of a batch is sum over count, see `mean`.
Distances are capped at `max_distance` and scaled to 0..1 by it, so their losses have no unit.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from hardfold.contacts import MIN_SEPARATION
from hardfold.geometry import UNRESOLVED

NEAREST_BIN = 2.0  # angstrom
# Quadratic up to a tenth of the largest distance: with the usual 1 no scaled error would ever leave that part.
SMOOTH_L1_BETA = 0.1


def distance_edges(max_distance: float, bins: int) -> Tensor:
    """The bins - 1 inner edges: equal bins from 2 angstrom to `max_distance`, then one for all beyond (trRosetta)."""
    return torch.linspace(NEAREST_BIN, max_distance, bins)[1:]


def distance_centres(max_distance: float, bins: int) -> Tensor:
    """The distance that each bin stands for, (K,): its middle; `max_distance` for the last."""
    edges = torch.linspace(NEAREST_BIN, max_distance, bins)
    return torch.cat([(edges[1:] + edges[:-1]) / 2, edges[-1:]])


def angle_centres(bins: int) -> Tensor:
    """The middles (K,) of equal bins over the circle from -pi."""
    return (torch.arange(bins) + 0.5) * (2 * math.pi / bins) - math.pi


def contact_loss(logits: Tensor, contact: Tensor, positive_weight: float) -> tuple[Tensor, Tensor]:
    """Binary cross entropy over resolved pairs with |i-j| >= 6, contacts weighing `positive_weight`.

    logits (B, 1, L, L), contact (B, L, L) of 0, 1, 255.
    """
    position = torch.arange(contact.shape[-1], device=contact.device)
    apart = (position[:, None] - position).abs() >= MIN_SEPARATION
    weight = logits.new_tensor(positive_weight)
    losses = functional.binary_cross_entropy_with_logits(
        logits[:, 0], (contact == 1).to(logits.dtype), pos_weight=weight, reduction="none"
    )
    return _total(losses, (contact != UNRESOLVED) & apart)


def distance_loss(outputs: Tensor, distance: Tensor, kind: str, max_distance: float) -> tuple[Tensor, Tensor]:
    """mse, smooth_l1 or cross_entropy over resolved pairs of two residues.

    outputs (B, 1, L, L), a logit of distance / max_distance, or for cross_entropy (B, K, L, L); distance (B, L, L)
    in angstrom, NaN unknown.
    """
    distance = distance.float()
    known = distance.isfinite() & ~torch.eye(distance.shape[-1], dtype=torch.bool, device=distance.device)
    distance = torch.where(known, distance, 0)
    if kind == "cross_entropy":
        edges = distance_edges(max_distance, outputs.shape[1]).to(distance.device)
        bins = torch.bucketize(distance, edges, right=True)
        return _total(_cross_entropy(outputs.movedim(1, -1), bins), known)
    predicted, true = outputs[:, 0].sigmoid(), distance.clamp(max=max_distance) / max_distance
    if kind == "mse":
        return _total(functional.mse_loss(predicted, true, reduction="none"), known)
    if kind == "smooth_l1":
        return _total(functional.smooth_l1_loss(predicted, true, reduction="none", beta=SMOOTH_L1_BETA), known)
    raise KeyError(kind)


def angle_loss(outputs: Tensor, angles: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """mse, cosine or cross_entropy over known angles, each periodic: -pi and pi are the same.

    outputs (B, L, 2, 2), a vector (cosine, sine) for phi and psi each, or for cross_entropy (B, L, 2, K); angles
    (B, L, 2) in radians, NaN unknown. mse: squared distance of the vector to the true point on the unit circle, its
    length counting; cosine: 1 - cosine of the angle between the two.
    """
    known = angles.isfinite()
    angles = torch.where(known, angles, 0)
    if kind == "cross_entropy":
        bins = outputs.shape[-1]
        index = ((angles + math.pi) * (bins / (2 * math.pi))).floor().long() % bins
        return _total(_cross_entropy(outputs, index), known)
    true = torch.stack([angles.cos(), angles.sin()], dim=-1)
    if kind == "mse":
        return _total((outputs - true).square().sum(-1), known)
    if kind == "cosine":
        return _total(1 - functional.cosine_similarity(outputs, true, dim=-1), known)
    raise KeyError(kind)


def all_losses(outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor], options: Mapping) -> dict[str, tuple]:
    """Task -> (sum, count) for each task of `outputs`, by the experiment's options."""
    functions = {
        "contact": lambda logits: contact_loss(logits, batch["contact"], options["positive_weight"]),
        "distance": lambda logits: distance_loss(
            logits, batch["distance"], options["distance_loss_type"], options["max_distance"]
        ),
        "angle": lambda vectors: angle_loss(vectors, batch["angle"], options["angle_loss_type"]),
    }
    return {task: functions[task](output) for task, output in outputs.items()}


def mean(total: Tensor, count: Tensor) -> Tensor:
    """The sum over the count, of the whole batch; 0 where nothing counts."""
    return total.sum() / count.sum().clamp(min=1)


def weighted(values: Mapping[str, Tensor], options: Mapping) -> Tensor:
    """The sum of the tasks' losses by their configured weights."""
    return sum(options[f"{task}_loss_weight"] * value for task, value in values.items())


def _cross_entropy(logits: Tensor, index: Tensor) -> Tensor:
    """Logits (..., K), index (...) -> (...). Flattened: CUDA has no deterministic loss over images."""
    return functional.cross_entropy(logits.flatten(0, -2), index.flatten(), reduction="none").view(index.shape)


def _total(losses: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(keep, losses, 0).flatten(1).sum(1), keep.flatten(1).sum(1)

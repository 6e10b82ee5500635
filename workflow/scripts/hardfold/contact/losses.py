"""Losses of the contact track: pure functions that return a sum and a count by sample, (B,) each.

What is masked (contact 255, distance or angle NaN) enters neither. The loss of a batch is sum over count, see `mean`.
Distances are capped at `max_distance` and scaled to 0..1 by it, so their losses have no unit. Outputs of half precision
are widened first.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from hardfold.contact.bins import distance_edges
from hardfold.contacts import MIN_SEPARATION
from hardfold.geometry import UNRESOLVED

# Quadratic up to a tenth of the largest distance: with the usual 1 no scaled error would ever leave that part.
SMOOTH_L1_BETA = 0.1


def contact_loss(logits: Tensor, contact: Tensor, options: Mapping) -> tuple[Tensor, Tensor]:
    """bce or focal, by `contact_loss_type`, over resolved pairs with |i-j| >= 6.

    logits (B, 1, L, L), contact (B, L, L) of 0, 1, 255. bce: binary cross entropy, contacts weighing `positive_weight`.
    focal: see `focal_loss`.
    """
    position = torch.arange(contact.shape[-1], device=contact.device)
    apart = (position[:, None] - position).abs() >= MIN_SEPARATION
    logits, is_contact, kind = logits[:, 0].float(), contact == 1, options["contact_loss_type"]
    if kind == "bce":
        weight = logits.new_tensor(options["positive_weight"])
        losses = functional.binary_cross_entropy_with_logits(
            logits, is_contact.float(), pos_weight=weight, reduction="none"
        )
    elif kind == "focal":
        losses = focal_loss(logits, is_contact, options["focal_gamma"], options["focal_alpha"])
    else:
        raise KeyError(kind)
    return _total(losses, (contact != UNRESOLVED) & apart)


def focal_loss(logits: Tensor, positive: Tensor, gamma: float, alpha: float) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log(p_t) of each element (Lin et al. 2017, equation 5).

    p_t is the probability given to the true class; alpha_t is alpha for `positive` (bool), 1 - alpha for the others.
    The power is taken of the logarithm, so its gradient is finite at p_t = 1 for gamma < 1, too.
    """
    toward_truth = torch.where(positive, logits, -logits)
    alpha_t = torch.where(positive, alpha, 1 - alpha)
    return -alpha_t * (gamma * functional.logsigmoid(-toward_truth)).exp() * functional.logsigmoid(toward_truth)


def distance_loss(outputs: Tensor, distance: Tensor, kind: str, max_distance: float) -> tuple[Tensor, Tensor]:
    """mse, smooth_l1 (Girshick 2015, equation 3) or cross_entropy over bins, over resolved pairs of two residues.

    outputs (B, 1, L, L), a logit of distance / max_distance, or for cross_entropy (B, K, L, L); distance (B, L, L)
    in angstrom, NaN unknown. Bins as in trRosetta (Yang et al. 2020), see `hardfold.contact.bins`.
    """
    outputs, distance = outputs.float(), distance.float()
    known = distance.isfinite() & ~torch.eye(distance.shape[-1], dtype=torch.bool, device=distance.device)
    distance = torch.where(known, distance, 0)
    if kind == "cross_entropy":
        edges = torch.tensor(distance_edges(max_distance, outputs.shape[1]), device=distance.device)
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
    length counting (Jumper et al. 2021, algorithm 27, without normalisation); cosine: 1 - cosine of the angle between
    the two (the negative log-likelihood of a von Mises distribution, up to constants).
    """
    outputs, known = outputs.float(), angles.isfinite()
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
        "contact": lambda logits: contact_loss(logits, batch["contact"], options),
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

"""Losses of the folding track, pure functions of predictions and measured coordinates.

Shapes: B batch, L residues, S structure-module blocks, K bins. Coordinates in angstrom, backbone order N, CA, C.
Each loss averages over the unmasked residues or pairs of a sample and returns one value a sample, (B,) or (S, B);
a sample without any gives 0. What stands at masked residues, NaN included, has no effect.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

N, CA, C, O, CB = range(5)  # noqa: E741 (the atom's name)
LDDT_RADIUS = 15.0
LDDT_THRESHOLDS = (0.5, 1.0, 2.0, 4.0)
DISTOGRAM_EDGES = (2.3125, 21.6875)


def frames_from_coordinates(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Backbone frames (AlphaFold2, algorithm 21): rotations (..., L, 3, 3) with columns e1, e2, e3, translations CA.

    coordinates: (..., L, 3 or more, 3). Where an atom is NaN the frame is the identity at the origin: mask it out.
    """
    backbone = coordinates[..., : C + 1, :].float()
    known = backbone.isfinite().all(dim=-1).all(dim=-1)
    backbone = torch.where(known[..., None, None], backbone, torch.zeros_like(backbone))
    e1 = functional.normalize(backbone[..., C, :] - backbone[..., CA, :], dim=-1)
    toward_n = backbone[..., N, :] - backbone[..., CA, :]
    e2 = functional.normalize(toward_n - (toward_n * e1).sum(-1, keepdim=True) * e1, dim=-1)
    rotations = torch.stack([e1, e2, torch.linalg.cross(e1, e2)], dim=-1)
    identity = torch.eye(3, device=rotations.device).expand_as(rotations)
    return torch.where(known[..., None, None], rotations, identity), backbone[..., CA, :]


def frames_from_output(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The model's frames (..., L, 7), quaternion w x y z and translation: rotations and translations as above."""
    frames = frames.float()
    w, x, y, z = functional.normalize(frames[..., :4], dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2), frames[..., 4:]


def fape(
    rotations: Tensor,
    translations: Tensor,
    true_rotations: Tensor,
    true_translations: Tensor,
    mask: Tensor,
    clamped: float = 1.0,
    clamp: float = 10.0,
    scale: float = 10.0,
) -> Tensor:
    """Backbone frame-aligned point error (AlphaFold2, algorithm 28; points are CA), in units of `scale` angstrom.

    Predicted (..., B, L, 3, 3) and (..., B, L, 3), true without the leading dimensions, mask (B, L). `clamped` of the
    loss clamps each error at `clamp`, the rest does not (1.9.1 draws this by sample; here it is its expectation):
    clamped error gives an untrained model no gradient. Returns (..., B).
    """
    local = _in_frames(rotations, translations)
    true_local = _in_frames(true_rotations, true_translations)
    error = ((local - true_local).square().sum(-1) + 1e-4).sqrt()
    error = clamped * error.clamp(max=clamp) + (1 - clamped) * error
    return _mean(error / scale, _pairs(mask), dims=2)


def weighted_blocks(values: Tensor, weights: Sequence[float] = ()) -> Tensor:
    """The mean over structure-module blocks, (S, B) -> (B,): equal (AlphaFold2, algorithm 20, line 23) or weighted.

    Raises ValueError unless there are S weights, or none.
    """
    if weights and len(weights) != len(values):
        raise ValueError(
            f"losses.fape_blocks: {len(weights)} weights, but the structure module has {len(values)} blocks"
        )
    share = values.new_tensor(weights or [1.0] * len(values))
    return (share[:, None] * values).sum(0) / share.sum()


def _in_frames(rotations: Tensor, points: Tensor) -> Tensor:
    """Each point j seen from each frame i: (..., L, L, 3)."""
    return torch.einsum("...iab,...ija->...ijb", rotations, points[..., None, :, :] - points[..., :, None, :])


def representative_atoms(coordinates: Tensor) -> Tensor:
    """(..., L, 5, 3) -> (..., L, 3): CB, or CA where there is none (Gly)."""
    return torch.where(coordinates[..., CB, :].isfinite(), coordinates[..., CB, :], coordinates[..., CA, :])


def distogram_loss(logits: Tensor, points: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of binned CB distances (AlphaFold2, equation 41): logits (B, L, L, K), points (B, L, 3) -> (B,).

    K - 1 edges run from 2.3125 to 21.6875 angstrom; the last bin is open.
    """
    points = _zero_masked(points, mask)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    edges = torch.linspace(*DISTOGRAM_EDGES, logits.shape[-1] - 1, device=logits.device)
    loss = functional.cross_entropy(
        logits.float().permute(0, 3, 1, 2), torch.bucketize(distances, edges), reduction="none"
    )
    return _mean(loss, _pairs(mask), dims=2)


@torch.no_grad()
def lddt_ca(points: Tensor, true_points: Tensor, mask: Tensor) -> Tensor:
    """lDDT-CA by residue, 0..1 (Mariani et al. 2013): (..., B, L, 3), (B, L, 3), (B, L) -> (..., B, L).

    The share of true distances below 15 angstrom that are kept within 0.5, 1, 2 and 4 angstrom, averaged over the
    four. 0 where masked or without a neighbour.
    """
    points, true_points = _zero_masked(points, mask), _zero_masked(true_points, mask)
    distances = torch.linalg.vector_norm(points[..., :, None, :] - points[..., None, :, :], dim=-1)
    true_distances = torch.linalg.vector_norm(true_points[..., :, None, :] - true_points[..., None, :, :], dim=-1)
    others = ~torch.eye(mask.shape[-1], dtype=torch.bool, device=mask.device)
    pairs = _pairs(mask) & others & (true_distances < LDDT_RADIUS)
    error = (distances - true_distances).abs()
    kept = sum((error < threshold).float() for threshold in LDDT_THRESHOLDS) / len(LDDT_THRESHOLDS)
    return _mean(kept, pairs, dims=1)


def confidence_loss(logits: Tensor, lddt: Tensor, mask: Tensor) -> Tensor:
    """Cross entropy of binned lDDT-CA (AlphaFold2, 1.9.6): logits (B, L, K), lddt (B, L) in 0..1 -> (B,)."""
    bins = logits.shape[-1]
    target = (lddt.detach() * bins).long().clamp(0, bins - 1)
    loss = functional.cross_entropy(logits.float().transpose(1, 2), target, reduction="none")
    return _mean(loss, mask.bool(), dims=1)


def _zero_masked(points: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.bool()[..., None], points.float(), torch.zeros((), device=points.device))


def _pairs(mask: Tensor) -> Tensor:
    return mask.bool()[..., :, None] & mask.bool()[..., None, :]


def _mean(values: Tensor, keep: Tensor, dims: int) -> Tensor:
    """Mean over the last `dims` dimensions of what `keep` keeps, 0 where that is nothing."""
    over = tuple(range(-dims, 0))
    total = torch.where(keep, values, torch.zeros((), device=values.device)).sum(over)
    return total / keep.sum(over).clamp(min=1)

"""Structures out of a folding model: one sequence at a time, written as mmCIF with pLDDT in the B factor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hardfold import tables
from hardfold.dataset import Dataset
from hardfold.folding.adapters import load_adapter
from hardfold.folding.alignment import AlignmentFeatures, collate_features
from hardfold.folding.losses import CA, frames_from_output
from hardfold.folding.memory import require_inference
from hardfold.folding.model import UNKNOWN, encode, fold, load_model, place, to_device
from hardfold.jobs import progress
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif
from hardfold.training import device, seed_everything
from hardfold.weights import verify

# N, CA and C in the backbone frame, angstrom: alanine's ideal geometry, for residues of unknown type.
IDEAL_BACKBONE = ((-0.525, 1.363, 0.0), (0.0, 0.0, 0.0), (1.526, 0.0, 0.0))


@torch.no_grad()
def fold_sequence(
    model: nn.Module,
    sequence: str,
    recycles: int,
    chunk_size: int = 0,
    alignment: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (L, 5, 3) in angstrom, N CA C O CB, NaN where the residue has no such atom, and pLDDT (L,) 0..100.

    alignment: what `AlignmentFeatures.read` gives, for a model with an alignment adapter.
    Residues of unknown type, for which the model places no atoms, get N, CA and C from their frame.
    """
    on = next(model.parameters()).device
    aatype, mask, residue_index = encode([sequence])
    batch = {"aatype": aatype, "mask": mask, "residue_index": residue_index}
    batch = to_device(batch | (collate_features([alignment]) if alignment else {}), on)
    output = fold(model, batch, recycles, chunk_size)
    coordinates = output.positions[-1, 0, :, :5]
    coordinates = coordinates.masked_fill(output.atom14_atom_exists[0, :, :5, None] == 0, torch.nan)
    rotations, translations = frames_from_output(output.frames[-1, 0])
    backbone = torch.tensor(IDEAL_BACKBONE, device=on) @ rotations.transpose(1, 2) + translations[:, None]
    unknown = batch["aatype"][0] == UNKNOWN
    coordinates[unknown, :3] = backbone[unknown]
    return coordinates.cpu().numpy(), 100 * output.plddt[0, :, CA].cpu().numpy()


def step0_difference(before: list[np.ndarray], after: list[np.ndarray]) -> float:
    """The largest shift of an atom, angstrom, between lists of predictions (L, 5, 3) of the same sequences."""
    if any(not np.array_equal(np.isnan(a), np.isnan(b)) for a, b in zip(before, after, strict=True)):
        return float("inf")  # an atom that came or went
    return max(float(np.nanmax(np.linalg.norm(a - b, axis=-1))) for a, b in zip(before, after, strict=True))


def predict_structures(
    *,
    weights: Path,
    targets: Path,
    adapters: Sequence[Path],
    folds: Path | None,
    output: Path,
    recycles: int,
    chunk_size: int,
    half_stem: bool,
    threads: int,
    alignments: AlignmentFeatures | None = None,
) -> None:
    """Write <target>.cif beside `output`, then `output` itself: target, file, residues, plddt (mean over residues).

    No adapter: the model as it is; one: for every target; with `folds` (target, fold) the adapter of fold k is
    `adapters`[k - 1], and targets of no fold are left out. alignments: of the targets, for adapters that read them.
    Raises TooLong, naming the target, before any is folded.
    """
    seed_everything(0, threads)
    verify(weights)
    output, dataset, rows = Path(output), Dataset(targets), []
    parts = _parts(dataset.ids, adapters, folds)
    sequences = {target: dataset.read(target, rows=0).sequence for _, ids in parts for target in ids}
    for adapter, ids in parts:
        model, _ = load_model(weights)
        if adapter:
            model = load_adapter(model, adapter)
        place(model, device(), half_stem)
        require_inference(model, {target: len(sequence) for target, sequence in sequences.items()}, chunk_size)
        for target in progress(ids, len(ids), "targets folded"):
            sequence = sequences[target]
            alignment = alignments.read(target, 0, len(sequence)) if alignments else None
            coordinates, plddt = fold_sequence(model, sequence, recycles, chunk_size, alignment)
            write_mmcif(Chain.from_atoms(target, sequence, coordinates), output.parent / f"{target}.cif", plddt)
            rows.append({"target": target, "file": f"{target}.cif", "residues": len(sequence), "plddt": plddt.mean()})
    tables.write(output, rows, ["target", "file", "residues", "plddt"])


def _parts(ids, adapters, folds):
    """(adapter or None, the targets that it predicts)."""
    if folds is None:
        return [(adapter, ids) for adapter in adapters] or [(None, ids)]
    fold_of = tables.read(folds, ["fold"], key="target").set_index("target")["fold"]
    return [(adapter, sorted(fold_of.index[fold_of == str(fold)])) for fold, adapter in enumerate(adapters, start=1)]

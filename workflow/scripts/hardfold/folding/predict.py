"""Structures out of a folding model: one sequence at a time, written as mmCIF with pLDDT in the B factor."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from hardfold import tables
from hardfold.dataset import Dataset
from hardfold.folding.adapters import load_adapter
from hardfold.folding.losses import CA, frames_from_output
from hardfold.folding.memory import require_inference
from hardfold.folding.model import UNKNOWN, encode, fold, load_model, place
from hardfold.jobs import progress
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif
from hardfold.training import device, seed_everything
from hardfold.weights import verify

# N, CA and C in the backbone frame, angstrom: alanine's ideal geometry, for residues of unknown type.
IDEAL_BACKBONE = ((-0.525, 1.363, 0.0), (0.0, 0.0, 0.0), (1.526, 0.0, 0.0))


@torch.no_grad()
def fold_sequence(model: nn.Module, sequence: str, recycles: int, chunk_size: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (L, 5, 3) in angstrom, N CA C O CB, NaN where the residue has no such atom, and pLDDT (L,) 0..100.

    Residues of unknown type, for which the model places no atoms, get N, CA and C from their frame.
    """
    on = next(model.parameters()).device
    aatype, mask, residue_index = (tensor.to(on) for tensor in encode([sequence]))
    batch = {"aatype": aatype, "mask": mask, "residue_index": residue_index}
    output = fold(model, batch, recycles, chunk_size)
    coordinates = output.positions[-1, 0, :, :5]
    coordinates = coordinates.masked_fill(output.atom14_atom_exists[0, :, :5, None] == 0, torch.nan)
    rotations, translations = frames_from_output(output.frames[-1, 0])
    backbone = torch.tensor(IDEAL_BACKBONE, device=on) @ rotations.transpose(1, 2) + translations[:, None]
    unknown = aatype[0] == UNKNOWN
    coordinates[unknown, :3] = backbone[unknown]
    return coordinates.cpu().numpy(), 100 * output.plddt[0, :, CA].cpu().numpy()


def predict_structures(
    *,
    weights: Path,
    targets: Path,
    adapter: Path | None,
    output: Path,
    recycles: int,
    chunk_size: int,
    half_stem: bool,
    threads: int,
) -> None:
    """Write <target>.cif beside `output`, then `output` itself: target, file, residues, plddt (mean over residues).

    Raises TooLong, naming the target, before any is folded.
    """
    seed_everything(0, threads)
    verify(weights)
    model, _ = load_model(weights)
    if adapter:
        model = load_adapter(model, adapter)
    place(model, device(), half_stem)
    output, dataset, rows = Path(output), Dataset(targets), []
    require_inference(model, dict(zip(dataset.ids, dataset.lengths(), strict=True)), chunk_size)
    for target in progress(dataset.ids, len(dataset.ids), "targets folded"):
        sequence = dataset[target].sequence
        coordinates, plddt = fold_sequence(model, sequence, recycles, chunk_size)
        write_mmcif(Chain.from_atoms(target, sequence, coordinates), output.parent / f"{target}.cif", plddt)
        rows.append({"target": target, "file": f"{target}.cif", "residues": len(sequence), "plddt": plddt.mean()})
    tables.write(output, rows, ["target", "file", "residues", "plddt"])

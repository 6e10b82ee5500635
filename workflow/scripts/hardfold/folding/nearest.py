"""Yardstick nearest_training: the structure of the nearest training chain, copied onto the target."""

from pathlib import Path

import numpy as np
from Bio.Align import PairwiseAligner, substitution_matrices

from hardfold import tables
from hardfold.dataset import Dataset
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif

COLUMNS = ["target", "file", "residues", "plddt", "nearest_kept", "identity_kept"]


def copy_nearest(*, targets: Path, train: Path, audit: Path, output: Path) -> None:
    """Write <target>.cif beside `output` for each target that the audit found a training chain for (nearest_kept), then
    `output` itself, a row a target: `file` and `residues` (those copied) are empty where there is no such chain, or
    where nothing of it can be laid on a resolved residue of the target.
    """
    output, dataset, training = Path(output), Dataset(targets), Dataset(train)
    nearest = tables.read(audit, ["nearest_kept", "identity_kept"], key="chain").set_index("chain")
    rows = []
    for target in dataset.ids:
        found = nearest.loc[target, ["nearest_kept", "identity_kept"]].to_dict()
        row = {"target": target, "file": "", "residues": None, "plddt": None, **found}
        if found["nearest_kept"]:
            record, template = dataset[target], training[found["nearest_kept"]]
            coordinates = copy_structure(record.sequence, template.sequence, template.coordinates)
            copied = np.isfinite(coordinates[:, 1, 0])
            if (copied & record.mask).any():
                write_mmcif(Chain.from_atoms(target, record.sequence, coordinates), output.parent / f"{target}.cif")
                row |= {"file": f"{target}.cif", "residues": int(copied.sum())}
        rows.append(row)
    tables.write(output, rows, COLUMNS)


def copy_structure(sequence: str, template: str, coordinates: np.ndarray) -> np.ndarray:
    """The template's atoms, (L, 5, 3), at the residues of `sequence` that the best local alignment pairs with its own.

    Smith-Waterman with BLOSUM62, 11 for a gap and 1 for each further residue of it, as MMseqs2 and BLAST align.
    Unresolved residues of the template count as unknown: a tag that both have would else be all that is aligned.
    """
    resolved = np.isfinite(coordinates[:, 1]).all(1)
    template = "".join(letter if there else "X" for letter, there in zip(template, resolved, strict=True))
    aligner = PairwiseAligner(mode="local", substitution_matrix=substitution_matrices.load("BLOSUM62"))
    aligner.open_gap_score, aligner.extend_gap_score = -11, -1
    copied = np.full((len(sequence), *coordinates.shape[1:]), np.nan, dtype=np.float32)
    best = next(iter(aligner.align(sequence, template)), None)
    for own, other in zip(*best.aligned, strict=True) if best else ():
        copied[slice(*own)] = coordinates[slice(*other)]
    copied[[letter == "G" for letter in sequence], 4] = np.nan
    return copied

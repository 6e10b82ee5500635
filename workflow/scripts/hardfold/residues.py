"""How each residue of a prediction fares: its distance from the native, its lDDT, and the model's own pLDDT."""

from pathlib import Path

import numpy as np

from hardfold import scoring, tables
from hardfold.jobs import progress
from hardfold.structure.parse import read_model

COLUMNS = ["target", "position", "error", "lddt", "plddt"]


def residue_scores(model: np.ndarray, native: np.ndarray) -> dict[str, np.ndarray]:
    """By residue of the native: `error`, the CA's distance in angstrom after the superposition of the best TM-score
    (NaN below 3 pairs), and `lddt` (0..1). Both (n, 3), the native complete, the model NaN where absent.
    """
    error = np.full(len(native), np.nan)
    if np.isfinite(model).all(axis=1).sum() >= 3:
        rotation, translation = scoring.tm_superposition(model, native)
        error = np.linalg.norm(model @ rotation.T + translation - native, axis=1)
    return {"error": error, "lddt": scoring.residue_lddt(model, native)}


def score_residues(*, predictions: Path, natives: Path, output: Path) -> None:
    """Write COLUMNS, a row a resolved residue (position in the target) of each prediction named in `predictions`
    (target, file, plddt); natives: <target>.cif. pLDDT is empty where the prediction has none.
    """
    table = tables.read(predictions, ["file", "plddt"], key="target")
    table = table[table["file"] != ""]
    rows = []
    for target, file, plddt in progress(table[["target", "file", "plddt"]].values, len(table), "targets scored"):
        path = Path(predictions).parent / file
        model, native = scoring.paired_ca(read_model(path), read_model(Path(natives) / f"{target}.cif"))
        resolved = np.isfinite(native).all(axis=1)
        columns = residue_scores(model[resolved], native[resolved])
        columns["plddt"] = scoring.read_plddt(path, len(native))[resolved] if plddt else np.full(resolved.sum(), np.nan)
        for position, *values in zip(np.flatnonzero(resolved) + 1, *columns.values(), strict=True):
            rows.append({"target": target, "position": position, **dict(zip(columns, values, strict=True))})
    tables.write(output, rows, COLUMNS, ordered=True)

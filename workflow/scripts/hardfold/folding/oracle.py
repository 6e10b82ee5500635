"""Arm test_time_oracle: of each target's candidate steps the one that scores best against the native."""

import shutil
from pathlib import Path

from hardfold import scoring, tables
from hardfold.structure.parse import read_model


def choose_with_native(*, steps: Path, natives: Path, curve: Path, output: Path) -> None:
    """Write `curve`, the test_time run's table `steps` with each step's tm, gdt_ts and lddt of the chain and `best`
    (yes, no; the earliest of equal TM-scores), and the best predictions as `output` and the files beside it.
    """
    table = tables.read(steps, ["target", "step", "file", "residues", "plddt", "chosen"])
    scores = []
    for target, file in zip(table["target"], table["file"], strict=True):
        native = read_model(Path(natives) / f"{target}.cif")
        scores.append(scoring.score(*scoring.paired_ca(read_model(Path(steps).parent / file), native)))
    for name in ("tm", "gdt_ts", "lddt"):
        table[name] = [score[name] for score in scores]
    table["step"] = table["step"].astype(int)
    order = table.sort_values(["target", "tm", "step"], ascending=[True, False, True])
    best = order.drop_duplicates("target").index
    table["best"] = ["yes" if index in best else "no" for index in table.index]
    rows = table.loc[best]
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    for target, file in zip(rows["target"], rows["file"], strict=True):
        shutil.copyfile(Path(steps).parent / file, Path(output).parent / f"{target}.cif")
    tables.write(curve, table, list(table.columns))
    tables.write(output, rows.assign(file=rows["target"] + ".cif"), ["target", "file", "residues", "plddt", "step"])

"""Scores of a predicted structure against the native, by chain and evaluation unit.

The correspondence is known: residue numbers are equal, nothing is realigned. Every denominator counts the native's
resolved residues (those with a CA) in the chain or unit; a residue that the prediction lacks earns nothing.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial.distance import cdist
from tmtools import tm_align

from hardfold import geometry, tables
from hardfold.arms import PARTIAL
from hardfold.jobs import progress
from hardfold.structure.chain import Chain
from hardfold.structure.parse import read_model

GDT_CUTOFFS = (1.0, 2.0, 4.0, 8.0)  # angstrom
LDDT_RADIUS = 15.0  # angstrom
LDDT_THRESHOLDS = (0.5, 1.0, 2.0, 4.0)  # angstrom
MIN_IDENTITY = 0.8  # below it, residue numbers of prediction and native do not mean the same
CA_STEP = 3.8  # angstrom between consecutive CA
COLUMNS = [
    "target", "unit", "class", "arm", "seed", "residues", "tm", "gdt_ts", "lddt", "rmsd", "plddt", "neff",
    "nearest_training_identity", "in_baseline_training_period",
]  # fmt: skip

Ranges = list[tuple[int, int]]  # positions, 1-based, both ends included


class ScoreError(ValueError):
    """Structures that cannot be compared; the message says why."""


def score_files(model: Path, native: Path, units: Mapping[str, Ranges] | None = None) -> dict:
    """Scores of two structure files (mmCIF or PDB): those of the chain, and `units` -> scores where units are given."""
    predicted, measured = paired_ca(read_model(model), read_model(native))
    scores = score(predicted, measured)
    if units:
        scores["units"] = {name: score(predicted, only(measured, ranges)) for name, ranges in units.items()}
    return scores


def paired_ca(model: Chain, native: Chain) -> tuple[np.ndarray, np.ndarray]:
    """CA of both by position: two (L, 3), NaN where absent. ScoreError where the numbering does not correspond."""
    length = max(len(model.sequence), len(native.sequence))
    points = np.full((2, length, 3), np.nan)
    points[0, : len(model.sequence)] = model.coordinates[:, 1]
    points[1, : len(native.sequence)] = native.coordinates[:, 1]
    both = np.isfinite(points).all(axis=(0, 2))
    pairs = [(model.sequence[i], native.sequence[i]) for i in np.flatnonzero(both)]
    known = [a == b for a, b in pairs if "X" not in (a, b)]
    if not pairs or (known and np.mean(known) < MIN_IDENTITY):
        raise ScoreError(
            f"{model.id} and {native.id}: {len(pairs)} residue numbers in common, {sum(known)} with the same residue; "
            "the numbering does not correspond"
        )
    return points[0], points[1]


def only(points: np.ndarray, ranges: Ranges) -> np.ndarray:
    """The points of these positions, NaN elsewhere."""
    inside = np.zeros(len(points), dtype=bool)
    for start, end in ranges:
        inside[start - 1 : end] = True
    return np.where(inside[:, None], points, np.nan)


def score(model: np.ndarray, native: np.ndarray) -> dict:
    """tm, gdt_ts, lddt (0..1), rmsd (angstrom, None below 3 pairs), residues (of the native), matched.

    Both are CA by position, (L, 3), NaN where absent.
    """
    resolved = np.isfinite(native).all(axis=1)
    if not resolved.any():
        raise ScoreError("the native has no resolved residue here")
    model, native = model[resolved], native[resolved]
    matched = np.isfinite(model).all(axis=1)
    scores = {"tm": 0.0, "gdt_ts": 0.0, "lddt": lddt_ca(model, native), "rmsd": None}
    if matched.sum() >= 3:
        rotation, translation = geometry.superpose(model[matched], native[matched])
        scores["tm"] = tm_score(model, native)
        scores["gdt_ts"] = gdt_ts(model, native)
        scores["rmsd"] = geometry.rmsd(model[matched] @ rotation.T + translation, native[matched])
    return {**scores, "residues": int(resolved.sum()), "matched": int(matched.sum())}


def tm_score(model: np.ndarray, native: np.ndarray) -> float:
    """TM-score (Zhang and Skolnick 2004), sequence-dependent: (n, 3) each, native complete, model NaN where absent.

    Best superposition, d0 = 1.24 (n - 15)^(1/3) - 1.8 with floor 0.5, denominator n. TM-align's search is given the
    correspondence; without it, it would realign and inflate the score.
    """
    return float(_tm_align(model, native).tm_norm_chain2)


def tm_superposition(model: np.ndarray, native: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) of `tm_score`'s best superposition: model @ rotation.T + translation."""
    result = _tm_align(model, native)
    return result.u, result.t


def _tm_align(model, native):
    matched = np.isfinite(model).all(axis=1)
    gapped = "".join(np.where(matched, "A", "-"))
    whole = "A" * len(native)
    return tm_align(model[matched], native, "A" * int(matched.sum()), whole, alignment=[gapped, whole])


def gdt_ts(model: np.ndarray, native: np.ndarray) -> float:
    """GDT_TS (Zemla 2003): mean share of CA within 1, 2, 4 and 8 angstrom, each cut-off with its own superposition.

    The search is the TMscore program's: superpose windows of n, n/2, n/4 ... 4 consecutive residues, then those that
    came within d0 + 1 angstrom, until the set repeats; the best count at each cut-off over all superpositions.
    """
    total = len(native)
    matched = np.isfinite(model).all(axis=1)
    model, native = model[matched], native[matched]
    model, native = model - model.mean(axis=0), native - native.mean(axis=0)
    reach = np.clip(_d0(total), 4.5, 8.0)
    best = np.zeros(len(GDT_CUTOFFS), dtype=int)
    seen: set[bytes] = set()
    for windows in _windows(len(model)):
        chosen, threshold = windows, reach - 1
        for _ in range(21):
            squared = _superposed_squares(model, native, chosen)
            counts = [(squared <= cutoff**2).sum(axis=1).max() for cutoff in GDT_CUTOFFS]
            best = np.maximum(best, counts)
            chosen = _unseen(_within(squared, threshold), seen)
            threshold = reach + 1
            if not len(chosen):
                break
    return float(best.mean() / total)


def _d0(residues: int) -> float:
    return max(1.24 * np.cbrt(residues - 15) - 1.8, 0.5)


def _windows(n: int):
    """(windows, n) bool for each window length: n, n/2, n/4, n/8, n/16, 4."""
    lengths = dict.fromkeys(max(n >> halving, min(n, 4)) for halving in range(5)) | {min(n, 4): None}
    for length in lengths:
        starts = np.arange(n - length + 1)[:, None]
        yield (np.arange(n) >= starts) & (np.arange(n) < starts + length)


def _superposed_squares(model: np.ndarray, native: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Squared distances (k, n) after superposing, for each of k sets, the chosen residues (Kabsch 1976)."""
    weights = chosen / chosen.sum(axis=1, keepdims=True)
    model_centre, native_centre = weights @ model, weights @ native
    products = (model[:, :, None] * native[:, None, :]).reshape(len(model), 9)
    covariance = (weights @ products).reshape(-1, 3, 3) - model_centre[:, :, None] * native_centre[:, None, :]
    left, _, right = np.linalg.svd(covariance)
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    rotation = left @ right
    moved = model @ rotation + (native_centre[:, None, :] - model_centre[:, None, :] @ rotation)
    return ((moved - native) ** 2).sum(axis=2)


def _within(squared: np.ndarray, threshold: float) -> np.ndarray:
    """Residues nearer than the threshold, which grows by 0.5 angstrom until there are three."""
    third = np.sqrt(np.partition(squared, 2, axis=1)[:, 2])
    grown = threshold + 0.5 * np.maximum(0, np.floor((third - threshold) / 0.5) + 1)
    return squared < grown[:, None] ** 2


def _unseen(chosen: np.ndarray, seen: set[bytes]) -> np.ndarray:
    """The rows never met before: the same set of residues leads the same way again."""
    fresh = []
    for row, key in enumerate(map(bytes, np.packbits(chosen, axis=1))):
        if key not in seen:
            seen.add(key)
            fresh.append(row)
    return chosen[fresh]


def lddt_ca(model: np.ndarray, native: np.ndarray) -> float:
    """lDDT of CA (Mariani et al. 2013): the share of the native's CA-CA distances below 15 angstrom that the model
    keeps within 0.5, 1, 2 and 4 angstrom, averaged over the four. Distances the model lacks are not kept.
    """
    kept = _kept_distances(model, native)[1]
    return float(kept.mean()) if len(kept) else 0.0


def residue_lddt(model: np.ndarray, native: np.ndarray) -> np.ndarray:
    """(n,) lDDT of each residue's own distances; NaN where the native has none below the radius."""
    residue, kept = _kept_distances(model, native)
    counts = np.bincount(residue, minlength=len(native))
    return np.divide(
        np.bincount(residue, kept, len(native)), counts, out=np.full(len(native), np.nan), where=counts > 0
    )


def _kept_distances(model, native):
    """First residue of each distance of the native below the radius, and the share of thresholds that it is kept at."""
    distances = cdist(native, native)
    pairs = (distances < LDDT_RADIUS) & ~np.eye(len(native), dtype=bool)
    error = np.abs(cdist(model, model) - distances)[pairs]
    return np.nonzero(pairs)[0], np.mean([error < threshold for threshold in LDDT_THRESHOLDS], axis=0)


def random_walks(length: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Random compact CA traces, (count, length, 3): the score that no knowledge at all earns.

    Steps of 3.8 angstrom inside a sphere whose uniform filling has the radius of gyration 2.2 length^0.38 of folded
    proteins (Skolnick et al. 1997). Each step takes the first of 16 random directions that stays inside and 4 angstrom
    away from all earlier residues, else the one that ends nearest the centre.
    """
    radius = np.sqrt(5 / 3) * 2.2 * length**0.38
    walks = np.zeros((count, length, 3))
    for position in range(1, length):
        directions = generator.normal(size=(count, 16, 3))
        directions *= CA_STEP / np.linalg.norm(directions, axis=2, keepdims=True)
        steps = walks[:, None, position - 1] + directions
        gaps = np.linalg.norm(steps[:, :, None] - walks[:, None, : position - 1], axis=3).min(axis=2, initial=np.inf)
        from_centre = np.linalg.norm(steps, axis=2)
        free = (from_centre <= radius) & (gaps >= 4.0)
        pick = np.where(free.any(axis=1), free.argmax(axis=1), from_centre.argmin(axis=1))
        walks[:, position] = steps[np.arange(count), pick]
    return walks


def read_units(path: Path) -> dict[str, dict[str, Ranges]]:
    """target -> unit -> ranges of a table unit, start, end with or without a column target (then target is '')."""
    table = tables.read(path, ["unit", "start", "end"])
    units: dict[str, dict[str, Ranges]] = {}
    for row in table.to_dict("records"):
        try:
            piece = int(row["start"]), int(row["end"])
        except ValueError:
            raise tables.TableError(f"{path}: {row['start']!r} to {row['end']!r} is not a range of positions") from None
        if not 1 <= piece[0] <= piece[1]:
            raise tables.TableError(f"{path}: {piece[0]} to {piece[1]} is not a range of positions")
        units.setdefault(row.get("target", ""), {}).setdefault(row["unit"], []).append(piece)
    return units


def read_plddt(path: Path, length: int) -> np.ndarray:
    """(length,) pLDDT 0..100 by position out of the CA B factors of a prediction (mmCIF), NaN where absent."""
    values = np.full(length, np.nan)
    # The table itself: an unknown B factor, `?`, is 20 in gemmi's structures.
    atoms = (
        gemmi.cif.read(str(path)).sole_block().find("_atom_site.", ["label_seq_id", "label_atom_id", "B_iso_or_equiv"])
    )
    for position, atom, b_factor in atoms:
        if atom == "CA" and int(position) <= length:
            values[int(position) - 1] = gemmi.cif.as_number(b_factor)
    return values


def unit_facts(natives: Path, alignments: Path, audit: Path) -> dict[tuple[str, str], dict]:
    """What scores stand beside, by target and unit: the class of the unit (targets.tsv of the natives folder) and the
    target's in_baseline_training_period, neff and nearest_training_identity.
    """
    columns = ["target", "unit", "class", "in_baseline_training_period"]
    neff = tables.read(alignments, ["chain", "neff"], key="chain").set_index("chain")["neff"]
    identity = tables.read(audit, ["chain", "identity_kept"], key="chain").set_index("chain")["identity_kept"]
    return {
        (target, unit): {
            "class": kind,
            "in_baseline_training_period": period,
            "neff": neff.get(target, ""),
            "nearest_training_identity": identity.get(target, ""),
        }
        for target, unit, kind, period in tables.read(Path(natives) / "targets.tsv", columns)[columns].values
    }


def score_predictions(
    *, predictions: Path, natives: Path, alignments: Path, audit: Path, arm: str, seed: int, output: Path
) -> None:
    """One row a target and unit of the natives folder (<target>.cif, units.tsv, targets.tsv), predicted by one run.

    Where `predictions` (target, file, plddt) name no file for a target its scores are empty, and so is its pLDDT where
    they name none. ScoreError where they lack a target, unless the arm is one of only some.
    """
    facts = unit_facts(natives, alignments, audit)
    predicted = tables.read(predictions, ["file", "plddt"], key="target").set_index("target")
    units = read_units(Path(natives) / "units.tsv")
    absent = sorted(set(units) - set(predicted.index))
    if absent and arm not in PARTIAL:
        raise ScoreError(f"{predictions}: no prediction of {', '.join(absent)}")
    rows, targets = [], sorted(set(units) - set(absent))
    for target in progress(targets, len(targets), "targets scored"):
        native = read_model(Path(natives) / f"{target}.cif")
        file, plddt = predicted.loc[target, ["file", "plddt"]]
        path = Path(predictions).parent / file
        model, measured = paired_ca(read_model(path), native) if file else (None, native.coordinates[:, 1])
        for unit, ranges in units[target].items():
            part = only(measured, ranges)
            row = {"target": target, "unit": unit, "arm": arm, "seed": seed, **facts[target, unit]}
            resolved = np.isfinite(part).all(axis=1)
            row["residues"] = int(resolved.sum())
            if file:
                row |= score(model, part)
            if plddt:
                row["plddt"] = np.nanmean(read_plddt(path, len(part))[resolved])
            rows.append(row)
    tables.write(output, rows, COLUMNS)


def score_controls(*, natives: Path, alignments: Path, audit: Path, walks: int, seed: int, output: Path) -> None:
    """Arm random_walk: each score is the mean over `walks` random compact walks of the target's length."""
    facts = unit_facts(natives, alignments, audit)
    units = read_units(Path(natives) / "units.tsv")
    rows = []
    for target in progress(sorted(units), len(units), "random walks scored"):
        native = read_model(Path(natives) / f"{target}.cif").coordinates[:, 1].astype(np.float64)
        generator = np.random.default_rng([seed, *hashlib.sha256(target.encode()).digest()[:8]])
        traces = random_walks(len(native), walks, generator)
        for unit, ranges in units[target].items():
            part = only(native, ranges)
            scores = [score(trace, part) for trace in traces]
            means = {
                key: np.mean([each[key] for each in scores]) for key in ("residues", "tm", "gdt_ts", "lddt", "rmsd")
            }
            row = {"target": target, "unit": unit, "arm": "random_walk", "seed": 0, **facts[target, unit]}
            rows.append(row | means)
    tables.write(output, rows, COLUMNS)

"""The targets' natives as they are scored, and what is known of each target and evaluation unit."""

from pathlib import Path

from hardfold import fields, inputs, tables
from hardfold.structure.chain import Chain, StructureError, load_chains
from hardfold.structure.write import write_mmcif

MIN_SCORED = 3  # resolved residues that a superposition needs
COLUMNS = [
    *["target", "unit", "class", "round", "release_date", "in_baseline_training_period", "entry", "status", "reason"]
]


def write_targets(shards: list[Path], targets: Path, folder: Path, training_cutoff: str) -> None:
    """Write each kept target's native as scored to `folder`, and there the tables `targets.tsv`, `units.tsv` (the kept
    units as ranges of target positions, both ends included) and `numbering.tsv` (the deposited numbers).

    targets.tsv has a row for each target and unit of the input table; unit `chain` is the whole target. A unit is
    dropped, with the reason, that ends beyond its target, has fewer than three resolved residues (no superposition) or
    whose target the quality control dropped. A release date that the table leaves empty is the structure file's, and a
    period tells whether that date is before `training_cutoff` (YYYY-MM-DD, empty: unknown). Raises StructureError if
    no unit is left.
    """
    chains = {id: chain for shard in shards for id, chain in load_chains(shard).items()}
    rows, units, numbering = [], [], []
    for target in inputs.read_targets(targets).to_dict("records"):
        chain = chains.get(target["target"])
        facts = _facts(target, chain, training_cutoff)
        classes = fields.parse_unit_classes(target["unit_classes"])
        whole = {"chain": [(1, len(chain.sequence))] if chain else []}
        for unit, ranges in (whole | fields.parse_units(target["units"])).items():
            kind = target["class"] if unit == "chain" or not classes else classes.get(unit, "")
            reason = _why_not_scored(chain, ranges)
            rows.append(
                {**facts, "unit": unit, "class": kind, "status": "dropped" if reason else "kept", "reason": reason}
            )
            if not reason:
                units += [{"target": chain.id, "unit": unit, "start": start, "end": end} for start, end in ranges]
        if chain:
            numbering += [
                {"target": chain.id, "position": position, "auth_number": number}
                for position, number in enumerate(chain.auth_numbers, start=1)
            ]
            write_mmcif(chain, Path(folder) / f"{chain.id}.cif")
    if not units:
        raise StructureError(f"{targets}: no target is left to score: {rows[0]['reason'] if rows else 'it names none'}")
    tables.write(Path(folder) / "targets.tsv", rows, COLUMNS)
    tables.write(Path(folder) / "units.tsv", units, ["target", "unit", "start", "end"])
    tables.write(Path(folder) / "numbering.tsv", numbering, ["target", "position", "auth_number"])


def _facts(target, chain, training_cutoff):
    released = target["release_date"] or (chain.release_date if chain else "")
    period = target["in_baseline_training_period"]
    if not period and released and training_cutoff:
        period = "yes" if released < training_cutoff else "no"
    known = {key: target[key] for key in ("target", "round", "entry")}
    return {**known, "release_date": released, "in_baseline_training_period": period}


def _why_not_scored(chain: Chain | None, ranges: list[tuple[int, int]]) -> str:
    if chain is None:
        return "the quality control dropped the target"
    length, last = len(chain.sequence), max(end for _, end in ranges)
    if last > length:
        return f"the unit ends at position {last}, the target at {length}"
    resolved = sum(int(chain.mask[start - 1 : end].sum()) for start, end in ranges)
    return "" if resolved >= MIN_SCORED else f"{resolved} resolved residues, and {MIN_SCORED} are needed"

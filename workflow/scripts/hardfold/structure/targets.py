"""The targets' natives as they are scored."""

from pathlib import Path

from hardfold import tables
from hardfold.structure.chain import StructureError, load_chains
from hardfold.structure.write import write_mmcif

MIN_SCORED = 3  # resolved residues that a superposition needs


def write_targets(shards: list[Path], targets: Path, folder: Path) -> None:
    """Write each kept target's native as scored, `units.tsv` and `numbering.tsv` (the deposited numbers) to `folder`.

    A unit's rows are its ranges of target positions, both ends included; unit `chain` is the whole target. Raises
    StructureError for a unit that ends beyond its target or has fewer than three resolved residues (no superposition).
    """
    chains = {id: chain for shard in shards for id, chain in load_chains(shard).items()}
    units, numbering = [], []
    for _, target in tables.read_targets(targets).iterrows():
        name = target["target"]
        if name not in chains:
            continue
        chain = chains[name]
        length = len(chain.sequence)
        for unit, ranges in {"chain": [(1, length)], **tables.parse_units(target["units"])}.items():
            scored = sum(int(chain.mask[max(start, 1) - 1 : end].sum()) for start, end in ranges)
            if scored < MIN_SCORED:
                raise StructureError(f"{targets}: unit {unit} of {name} has {scored} resolved residues to score")
            for start, end in ranges:
                if start < 1 or end > length:
                    raise StructureError(f"{targets}: unit {unit} of {name}, {start}-{end}, is not within 1-{length}")
                units.append({"target": name, "unit": unit, "start": start, "end": end})
        numbering += [
            {"target": name, "position": position, "auth_number": number}
            for position, number in enumerate(chain.auth_numbers, start=1)
        ]
        write_mmcif(chain, Path(folder) / f"{name}.cif")
    tables.write(Path(folder) / "units.tsv", units, ["target", "unit", "start", "end"])
    tables.write(Path(folder) / "numbering.tsv", numbering, ["target", "position", "auth_number"])

"""Protein chains from mmCIF and PDB files: the typed record that the whole library works on, and its quality control.

The parser is gemmi, the fastest well-kept one: entry 4uv3 (3.3 MB) takes it 0.085 s, biotite 0.49 s, Biopython 2.1 s.
"""

import gzip
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import gemmi
import h5py
import numpy as np

from hardfold import jobs, tables
from hardfold.geometry import ATOMS, resolved, virtual_cb

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
MIN_SCORED = 3  # resolved residues that a superposition needs
QC_COLUMNS = [
    "chain",
    "label_chain",
    "source",
    "status",
    "reason",
    "length",
    "resolved",
    "method",
    "resolution",
    "release_date",
    "checks_not_possible",
]


class StructureError(ValueError):
    """A structure that cannot be used, with the reason in one line."""


@dataclass(frozen=True, eq=False)
class Chain:
    """One protein chain; residue `i` of every array is position `i + 1`."""

    id: str
    sequence: str  # L letters, the deposited sequence; X for what is not one of the 20
    mask: np.ndarray  # (L,) bool: N, CA and C present
    coordinates: np.ndarray  # (L, 5, 3) float32 angstrom: N, CA, C, O, CB; NaN where absent
    virtual_cb: np.ndarray  # (L,) bool: the CB was built, the file has none
    auth_numbers: tuple[str, ...]  # deposited residue number and insertion code; empty where unresolved
    label_chain: str = ""
    method: str = ""
    resolution: float | None = None  # angstrom
    release_date: str = ""  # YYYY-MM-DD
    nonstandard: int = 0  # residues that are neither one of the 20 nor selenomethionine

    @classmethod
    def from_atoms(cls, id: str, sequence: str, coordinates: np.ndarray, **source) -> "Chain":
        """A chain from its atoms (L, 5, 3): finds the mask and builds CB where a non-Gly residue has none."""
        coordinates = np.array(coordinates, dtype=np.float32)
        mask = resolved(coordinates)
        glycine = np.array([letter == "G" for letter in sequence], dtype=bool)
        built = mask & ~glycine & np.isnan(coordinates[:, 4]).any(axis=1)
        coordinates[built, 4] = virtual_cb(coordinates)[built]
        source.setdefault("auth_numbers", tuple(str(number) for number in range(1, len(sequence) + 1)))
        return cls(id=id, sequence=sequence, mask=mask, coordinates=coordinates, virtual_cb=built, **source)


def read_chain(path: Path, chain: str, auth_range: tuple[int, int] | None = None, id: str | None = None) -> Chain:
    """The chain of this auth id from the first model of an mmCIF or PDB file (`.gz` too).

    L is the entity's sequence (entity_poly_seq or SEQRES), or that of the residues present if the file has none.
    `auth_range` cuts it to the positions between the first and the last residue numbered within, unresolved ones
    included. The highest occupancy decides among alternative locations, the first on a tie; of a microheterogeneous
    residue the variant listed first in the sequence counts. Raises StructureError.
    """
    structure, block = _parse(path)
    polymers = [polymer for polymer in _proteins(structure) if polymer[0].name == chain]
    if not polymers:
        names = ", ".join(sorted({owner.name for owner, _ in _proteins(structure)})) or "none"
        raise StructureError(f"chain {chain} is not among the protein chains of the file: {names}")
    _, polymer = polymers[0]
    entity = structure.get_entity_of(polymer)
    groups = [list(group) for group in polymer.residue_groups()]
    if entity.full_sequence:
        names = list(entity.full_sequence)
        positions = [group[0].label_seq for group in groups]
    else:
        names = [group[0].name for group in groups]
        positions = list(range(1, len(groups) + 1))
    if None in positions or len(set(positions)) < len(positions) or max(positions) > len(names):
        raise StructureError(f"chain {chain}: residues without a place of their own in the sequence")
    numbers = {position: group[0].seqid.num for position, group in zip(positions, groups, strict=True)}
    start, stop = 1, len(names)
    if auth_range:
        first, last = auth_range
        numbers = _scheme_numbers(block, polymer.subchain_id()) | numbers
        inside = [position for position, number in numbers.items() if first <= number <= last]
        if not inside:
            raise StructureError(f"chain {chain} has no residue numbered {first} to {last}")
        start, stop = min(inside), max(inside)
    residues = {
        position - start: _variant(group, names[position - 1])
        for position, group in zip(positions, groups, strict=True)
        if start <= position <= stop
    }
    return _assemble(id or chain, names[start - 1 : stop], residues, structure, block, polymer)


def read_model(path: Path) -> Chain:
    """The first protein chain of a prediction or native, each residue at the position that its number says.

    The number is label_seq_id in mmCIF where it stands, else the author's. Numbers up to the last one without a
    residue are unresolved positions (X where the file has no sequence). Raises StructureError.
    """
    structure, block = _parse(path)
    proteins = _proteins(structure)
    if not proteins:
        raise StructureError("no protein chain")
    chain, polymer = proteins[0]
    groups = [list(group) for group in polymer.residue_groups()]
    labelled = block is not None and all(group[0].label_seq is not None for group in groups)
    numbers = [group[0].label_seq if labelled else group[0].seqid.num for group in groups]
    if min(numbers) < 1:
        raise StructureError(f"residue number {min(numbers)}: positions start at 1")
    if len(set(numbers)) < len(numbers):
        raise StructureError("a residue number stands twice: insertion codes have no position")
    sequence = structure.get_entity_of(polymer).full_sequence if labelled else []
    names = list(sequence) or [""] * max(numbers)
    if max(numbers) > len(names):
        raise StructureError(f"residue number {max(numbers)} lies beyond the sequence of {len(names)}")
    residues = {number - 1: _variant(group, names[number - 1]) for number, group in zip(numbers, groups, strict=True)}
    if not sequence:
        names = [residues[index].name if index in residues else "" for index in range(len(names))]
    return _assemble(chain.name, names, residues, structure, block, polymer)


def _parse(path):
    """Structure and, for mmCIF, its block; every way in which a file can be broken becomes a StructureError."""
    path = Path(path)
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise StructureError(f"{path.name}: broken gzip file ({fault})") from None
    except OSError as fault:
        raise StructureError(f"{path.name}: {fault.strerror.lower()}") from None
    text, block = content.decode("utf-8", errors="replace"), None
    if not text.strip():
        raise StructureError(f"{path.name}: empty file")
    kind = "mmCIF" if path.name.removesuffix(".gz").endswith((".cif", ".mmcif")) else "PDB"
    try:
        if kind == "mmCIF":
            block = gemmi.cif.read_string(text)[0]
            structure = gemmi.make_structure_from_block(block)
        else:
            structure = gemmi.read_pdb_string(text)
    except (ValueError, RuntimeError, IndexError) as fault:
        raise StructureError(f"{path.name}: not a readable {kind} file ({' '.join(str(fault).split())})") from None
    if not len(structure) or not structure[0].count_atom_sites():
        raise StructureError(f"{path.name}: no atoms")
    structure.merge_chain_parts()
    for chain in structure[0]:
        # Prediction files often leave the chain blank, which hides it from gemmi's entities.
        chain.name = chain.name or "A"
    if not structure.entities:
        structure.setup_entities()
    structure.assign_label_seq_id()
    return structure, block


def _proteins(structure):
    """(chain, residues) of each polypeptide in the first model, in file order."""
    found = []
    for chain in structure[0]:
        for part in chain.subchains():
            entity = structure.get_entity_of(part)
            if entity and entity.entity_type == gemmi.EntityType.Polymer:
                kind = entity.polymer_type
                if kind == gemmi.PolymerType.Unknown:
                    kind = part.check_polymer_type()
                if kind in (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD):
                    found.append((chain, part))
    return found


def _scheme_numbers(block, label_chain):
    """Position -> author number from pdbx_poly_seq_scheme, which numbers unresolved residues too."""
    if block is None:
        return {}
    table = block.find("_pdbx_poly_seq_scheme.", ["asym_id", "seq_id", "pdb_seq_num"])
    rows = [row for row in table if row[0] == label_chain and row[2].removeprefix("-").isdigit()]
    return {int(row[1]): int(row[2]) for row in rows}


def _variant(group, names):
    """Of the residues at one position the one whose name comes first in the sequence's `PRO,SER`."""
    order = names.split(",")
    return min(group, key=lambda residue: order.index(residue.name) if residue.name in order else len(order))


def _backbone(residue):
    """(5, 3) atoms of the alternative location with the highest occupancy, the first on a tie."""
    backbone = [atom for atom in residue if atom.name in ATOMS]
    occupancies = {}
    for atom in backbone:
        if atom.has_altloc():
            occupancies[atom.altloc] = occupancies.get(atom.altloc, 0.0) + atom.occ
    best = max(occupancies, key=occupancies.get, default=None)
    chosen = {}
    # The best location comes first; an atom that it lacks is taken from the first that has it.
    for atom in sorted(backbone, key=lambda atom: atom.altloc != best):
        chosen.setdefault(atom.name, atom)
    return np.array([chosen[name].pos.tolist() if name in chosen else [np.nan] * 3 for name in ATOMS])


def _letter(name):
    """One letter of the 20, the parent's for a modified residue, else X."""
    information = gemmi.find_tabulated_residue(name)
    letter = information.one_letter_code.upper()
    return letter if information.is_amino_acid() and letter in LETTERS else "X"


def _is_standard(name):
    """One of the 20, or selenomethionine, which stands for methionine in many crystals."""
    return name == "MSE" or (gemmi.find_tabulated_residue(name).is_standard() and _letter(name) != "X")


def _assemble(id, names, residues, structure, block, polymer):
    """Chain from the name at each position (`PRO,SER` if heterogeneous, empty if unknown) and residues by index."""
    coordinates = np.full((len(names), len(ATOMS), 3), np.nan, dtype=np.float32)
    auth_numbers = [""] * len(names)
    for index, residue in residues.items():
        if residue.name not in names[index].split(","):
            raise StructureError(f"residue {residue.seqid} is {residue.name}, but {names[index]} in the sequence")
        coordinates[index] = _backbone(residue)
        auth_numbers[index] = str(residue.seqid)
    names = [gemmi.Entity.first_mon(name) for name in names]
    dates = block.find_values("_pdbx_audit_revision_history.revision_date") if block is not None else []
    return Chain.from_atoms(
        id,
        "".join(_letter(name) if name else "X" for name in names),
        coordinates,
        auth_numbers=tuple(auth_numbers),
        label_chain=polymer.subchain_id() if block is not None else "",
        method=dict(structure.info).get("_exptl.method", ""),
        resolution=structure.resolution or None,
        release_date=min((date for date in dates if date not in ("?", ".")), default=""),
        nonstandard=sum(name != "" and not _is_standard(name) for name in names),
    )


def write_mmcif(chain: Chain, path: Path, plddt: np.ndarray | None = None) -> None:
    """Write the chain with label_seq_id = auth_seq_id = position; plddt (L,) 0..100 becomes the B factor, else `?`.

    Built CB atoms are left out: the file holds what was measured or predicted.
    """
    names = [gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA) for letter in chain.sequence]
    present = np.isfinite(chain.coordinates).all(axis=2)
    present[:, 4] &= ~chain.virtual_cb
    owner = gemmi.Chain("A")
    for index in np.flatnonzero(present.any(axis=1)).tolist():
        residue = gemmi.Residue()
        residue.name, residue.seqid, residue.label_seq = names[index], gemmi.SeqId(index + 1, " "), index + 1
        residue.subchain, residue.entity_id, residue.entity_type = "A", "1", gemmi.EntityType.Polymer
        residue.het_flag = "A"
        for slot in np.flatnonzero(present[index]).tolist():
            atom = gemmi.Atom()
            atom.name, atom.element, atom.occ = ATOMS[slot], gemmi.Element(ATOMS[slot][0]), 1.0
            atom.pos = gemmi.Position(*np.round(chain.coordinates[index, slot].astype(np.float64), 3))
            atom.b_iso = 0.0 if plddt is None else round(float(plddt[index]), 2)
            residue.add_atom(atom)
        owner.add_residue(residue)
    structure, model, entity = gemmi.Structure(), gemmi.Model(1), gemmi.Entity("1")
    structure.name = chain.id
    model.add_chain(owner)
    structure.add_model(model)
    entity.entity_type, entity.polymer_type = gemmi.EntityType.Polymer, gemmi.PolymerType.PeptideL
    entity.subchains, entity.full_sequence = ["A"], names
    structure.entities = gemmi.EntityList([entity])
    groups = gemmi.MmcifOutputGroups(False, block_name=True, entry=True, entity=True, entity_poly=True)
    groups.entity_poly_seq = groups.struct_asym = groups.atoms = groups.group_pdb = groups.auth_all = True
    document = structure.make_mmcif_document(groups)
    if plddt is None:
        for row in document.sole_block().find(["_atom_site.B_iso_or_equiv"]):
            row[0] = "?"
    with tables.whole_file(path) as temporary:
        temporary.write_text(document.as_string())


def save_chains(path: Path, chains: Iterable[Chain]) -> None:
    """Write chains as HDF5, /chains/<id> with the data sets sequence, coordinates, mask and auth_numbers."""
    with tables.whole_file(path) as temporary, h5py.File(temporary, "w") as file:
        root = file.create_group("chains")
        for chain in chains:
            group = root.create_group(chain.id)
            group["sequence"] = chain.sequence
            group["coordinates"] = chain.coordinates
            group["coordinates"].attrs["virtual_cb"] = chain.virtual_cb
            group["mask"] = chain.mask
            group["auth_numbers"] = ",".join(chain.auth_numbers)
            for name in ("label_chain", "method", "release_date", "nonstandard"):
                group.attrs[name] = getattr(chain, name)
            if chain.resolution is not None:
                group.attrs["resolution"] = chain.resolution


def load_chains(path: Path) -> dict[str, Chain]:
    """Chain id -> Chain, in order of the ids, from a file of `save_chains` or any file of the same layout."""
    with h5py.File(path) as file:
        return {id: _load(id, group) for id, group in file["chains"].items()}


def _load(id, group):
    attributes = group.attrs
    return Chain(
        id=id,
        sequence=group["sequence"].asstr()[()],
        mask=group["mask"][()],
        coordinates=group["coordinates"][()],
        virtual_cb=group["coordinates"].attrs["virtual_cb"],
        auth_numbers=tuple(group["auth_numbers"].asstr()[()].split(",")),
        label_chain=attributes["label_chain"],
        method=attributes["method"],
        resolution=float(attributes["resolution"]) if "resolution" in attributes else None,
        release_date=attributes["release_date"],
        nonstandard=int(attributes["nonstandard"]),
    )


def drop_reason(chain: Chain, limits: Mapping) -> str:
    """Why the chain fails the limits of the configuration's `structures`, empty if it passes.

    An unknown resolution is no reason: `unknown_fields` names it instead.
    """
    length = len(chain.sequence)
    fraction, nonstandard = chain.mask.mean(), chain.nonstandard / length
    faults = [
        (length < limits["min_length"], f"length {length} below {limits['min_length']}"),
        (length > limits["max_length"], f"length {length} above {limits['max_length']}"),
        (fraction < limits["min_resolved"], f"resolved fraction {fraction:.3f} below {limits['min_resolved']}"),
        (
            chain.resolution is not None and chain.resolution > limits["max_resolution"],
            f"resolution {chain.resolution} A above {limits['max_resolution']} A",
        ),
        (
            nonstandard > limits["max_nonstandard"],
            f"nonstandard fraction {nonstandard:.3f} above {limits['max_nonstandard']}",
        ),
    ]
    return "; ".join(text for failed, text in faults if failed)


def unknown_fields(chain: Chain) -> list[str]:
    """The fields that the file leaves unknown, so that nothing could be checked against them."""
    return [name for name in ("resolution", "method", "release_date") if not getattr(chain, name)]


def extract_shard(
    *, records: list[dict], folder: Path, downloads: Path, limits: Mapping, chains: Path, qc: Path
) -> None:
    """Read the shard's records out of `folder`, keep what passes the limits, and give every record its QC row.

    records: id, chain (`1abc_A`) and auth_range of each; downloads: the table of `download_shard`.
    """
    sources = tables.read(downloads, ["id", "source", "reason"], key="id").set_index("id")
    kept, rows = [], []
    for record in jobs.progress(records, len(records), "chains read"):
        source = sources.loc[record["id"]]
        row = {"chain": record["id"], "source": source["source"], "status": "dropped", "reason": source["reason"]}
        if not row["reason"]:
            try:
                chain = _read_record(folder, record)
            except StructureError as fault:
                row["reason"] = str(fault)
            else:
                row |= _describe(chain, limits)
                if row["status"] == "kept":
                    kept.append(chain)
        rows.append(row)
    save_chains(chains, kept)
    tables.write(qc, rows, QC_COLUMNS)


def _read_record(folder, record):
    entry, chain = record["chain"].split("_")
    (path,) = Path(folder).glob(f"{entry}.*")
    return read_chain(path, chain, tables.parse_range(record["auth_range"]), record["id"])


def _describe(chain, limits):
    reason = drop_reason(chain, limits)
    return {
        "label_chain": chain.label_chain,
        "status": "dropped" if reason else "kept",
        "reason": reason,
        "length": len(chain.sequence),
        "resolved": int(chain.mask.sum()),
        "method": chain.method,
        "resolution": chain.resolution,
        "release_date": chain.release_date,
        "checks_not_possible": ",".join(unknown_fields(chain)),
    }


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

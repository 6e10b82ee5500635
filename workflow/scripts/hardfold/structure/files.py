"""Structure files on disk as gemmi structures; whatever makes one unreadable becomes a StructureError of one line."""

import gzip
import re
import zlib
from datetime import datetime
from pathlib import Path

import gemmi

from hardfold.structure.chain import StructureError

PEPTIDES = (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD)
_COORDINATES = (slice(30, 38), slice(38, 46), slice(46, 54))  # the columns of an atom's x, y and z in a PDB file
_NUMBER = re.compile(rb" *[-+]?(\d+\.?\d*|\.\d+) *")
_FIRST_RELEASE = re.compile(rb"^REVDAT   1 {3}(\d\d-[A-Z]{3}-\d\d)", re.MULTILINE)


def parse_file(path: Path) -> tuple[gemmi.Structure, gemmi.cif.Block | None, dict]:
    """The structure with its first model only, the mmCIF block (None for PDB), and what Chain says of the source.

    Entities are complete: they have the file's sequences, and residues are numbered along them (label_seq). The names
    `.cif` and `.mmcif` mean mmCIF, all others PDB; `.gz` may follow. Raises StructureError.
    """
    path = Path(path)
    content, block = _read(path), None
    kind = "mmCIF" if path.name.lower().removesuffix(".gz").endswith((".cif", ".mmcif")) else "PDB"
    try:
        if kind == "mmCIF":
            block = gemmi.cif.read_string(content)[0]
            _list_entities(block)
            structure = gemmi.make_structure_from_block(block)
        else:
            structure = gemmi.read_pdb_string(content)
            if (gemmi.FlatStructure(structure).pos == 0).any():
                structure = gemmi.read_pdb_string(_mark_unreadable(content))
        if not len(structure) or not structure[0].count_atom_sites():
            raise StructureError(f"{path.name}: no atoms")
        del structure[1:]
        _complete_entities(structure, block)
    except StructureError:
        raise
    except (ValueError, RuntimeError, IndexError) as fault:
        raise StructureError(f"{path.name}: not a readable {kind} file ({' '.join(str(fault).split())})") from None
    source = {
        "method": dict(structure.info).get("_exptl.method", ""),
        "resolution": structure.resolution or None,
        "release_date": _pdb_release(content) if block is None else _mmcif_release(block),
    }
    return structure, block, source


def _read(path):
    """The file's bytes, unpacked, in ASCII: what is not becomes `?`, so that columns stay where they are."""
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise StructureError(f"{path.name}: broken gzip file ({fault})") from None
    except OSError as fault:
        raise StructureError(f"{path.name}: {fault.strerror.lower()}") from None
    if not content.strip():
        raise StructureError(f"{path.name}: empty file")
    if content.isascii():
        return content
    return content.decode("utf-8-sig", errors="replace").encode("ascii", errors="replace")


def _mark_unreadable(content):
    """PDB text with NaN for each coordinate that is not a number: gemmi reads 0 there."""
    lines = content.split(b"\n")
    for index, line in enumerate(lines):
        if line.startswith((b"ATOM", b"HETATM")):
            fields = [line[columns] for columns in _COORDINATES]
            fields = [field if _NUMBER.fullmatch(field) else b"     NaN" for field in fields]
            lines[index] = line[:30] + b"".join(fields) + line[54:]
    return b"\n".join(lines)


def _list_entities(block):
    """Where only `_entity_poly` stands, list its polymers in `_entity` too, where gemmi looks for them."""
    polymers = list(block.find_values("_entity_poly.entity_id"))
    if polymers and not block.find_values("_entity.id"):
        loop = block.init_loop("_entity.", ["id", "type"])
        for id in polymers:
            loop.add_row([id, "polymer"])


def _complete_entities(structure, block):
    # Predictions often leave the chain blank, which hides it from gemmi's entities.
    for named in (*structure[0], *structure.entities):
        named.name = named.name or "A"
    structure.merge_chain_parts()
    structure.setup_entities()
    if block is not None:
        for id, letters in block.find("_entity_poly.", ["entity_id", "pdbx_seq_one_letter_code"]):
            entity = structure.get_entity(gemmi.cif.as_string(id))
            if entity and not entity.full_sequence and entity.polymer_type in PEPTIDES:
                entity.full_sequence = gemmi.expand_one_letter_sequence(
                    gemmi.cif.as_string(letters), gemmi.ResidueKind.AA
                )
    structure.assign_label_seq_id()


def _mmcif_release(block):
    """The date of the first revision of the model, empty if the file has none."""
    revisions = block.find("_pdbx_audit_revision_history.", ["revision_date", "?data_content_type"])
    dates = [row[0] for row in revisions if not row.has(1) or row.str(1) == "Structure model"]
    dates = dates or block.find_values("_database_PDB_rev.date")
    return min((date for date in dates if re.fullmatch(r"\d{4}-\d\d-\d\d", date)), default="")


def _pdb_release(content):
    """The date of the first REVDAT record, empty if the file has none."""
    match = _FIRST_RELEASE.search(content.partition(b"\nATOM")[0])
    if not match:
        return ""
    try:
        date = datetime.strptime(match[1].decode(), "%d-%b-%y")
    except ValueError:
        return ""
    return date.strftime("%Y-%m-%d")

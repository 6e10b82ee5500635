"""Our parser against Biopython's, an independent one, on embedded chains and on a deposited entry."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from Bio.PDB.MMCIF2Dict import MMCIF2Dict
from Bio.PDB.MMCIFParser import MMCIFParser

from hardfold.geometry import ATOMS
from hardfold.structure.parse import read_chain

ROOT = Path(__file__).parents[2]
EMBEDDED = sorted((ROOT / "resources/demo/structures").glob("*.cif.gz"))[::33]
DEPOSITED = ROOT.parent / "shared/data/mmcif/5yh2.cif"


def compare(path, handle):
    structure = MMCIFParser(QUIET=True).get_structure("", handle)
    compared = 0
    for theirs in structure[0]:
        residues = [residue for residue in theirs if residue.id[0] == " " and "CA" in residue]
        if not residues:
            continue
        ours = read_chain(path, theirs.id)
        numbered = dict(zip(ours.auth_numbers, ours.coordinates, strict=True))
        for residue in residues:
            coordinates = numbered[f"{residue.id[1]}{residue.id[2].strip()}"]
            for atom, name in enumerate(ATOMS[:4]):
                if name in residue:
                    assert np.allclose(coordinates[atom], residue[name].coord, atol=1e-3)
                    compared += 1
    assert compared > 100


@pytest.mark.parametrize("path", EMBEDDED, ids=lambda path: path.name[:4])
def test_embedded_chain(path):
    # Occupancies are unknown there, which Biopython's structure builder refuses: its dictionary reader is compared.
    with gzip.open(path, "rt") as handle:
        columns = MMCIF2Dict(handle)
    ours = read_chain(path, columns["_atom_site.auth_asym_id"][0])
    assert ours.sequence == columns["_entity_poly.pdbx_seq_one_letter_code"][0]
    keys = ("label_seq_id", "label_atom_id", "Cartn_x", "Cartn_y", "Cartn_z")
    rows = list(zip(*(columns[f"_atom_site.{key}"] for key in keys), strict=True))
    assert len(rows) == 4 * ours.mask.sum()
    for position, atom, *xyz in rows:
        assert np.allclose(ours.coordinates[int(position) - 1, ATOMS.index(atom)], np.float32(xyz), atol=1e-3)


@pytest.mark.skipif(not DEPOSITED.is_file(), reason="the shared structures are not beside the repository")
def test_deposited_entry():
    with open(DEPOSITED) as handle:
        compare(DEPOSITED, handle)

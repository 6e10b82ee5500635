"""Our parser against Biopython's, an independent one: embedded chains, deposited entries, full-atom chains, natives."""

import csv
import gzip
import io
import tarfile
from itertools import islice
from pathlib import Path

import gemmi
import numpy as np
import pytest
from Bio import SeqIO
from Bio.PDB import MMCIFParser, PDBParser
from Bio.PDB.MMCIF2Dict import MMCIF2Dict
from Bio.SeqUtils import seq1

from hardfold.geometry import ATOMS
from hardfold.structure.parse import Entry, read_chain, read_model

ROOT = Path(__file__).parents[3]
EMBEDDED = sorted((ROOT / "resources/demo/structures").glob("*.cif.gz"))[::33]
SHARED = ROOT.parent / "shared/data"
pytestmark = pytest.mark.filterwarnings("ignore::Bio.PDB.PDBExceptions.PDBConstructionWarning")


def needs(path):
    return pytest.mark.skipif(not (SHARED / path).exists(), reason="the shared data folder is absent")


def compare(ours, residues):
    """Every backbone atom of Biopython's residues is ours, and ours has no other but virtual CB."""
    places = {number: place for place, number in enumerate(ours.auth_numbers) if number}
    expected = np.full_like(ours.coordinates, np.nan)
    for residue in residues:
        place = places.pop(f"{residue.id[1]}{residue.id[2].strip()}")
        assert seq1(residue.resname, custom_map={"MSE": "M"}) == ours.sequence[place]
        for slot, name in enumerate(ATOMS):
            if name in residue:
                expected[place, slot] = residue[name].coord
    assert not places
    assert ours.mask.tolist() == np.isfinite(expected[:, :3]).all(axis=(1, 2)).tolist()
    coordinates = ours.coordinates.copy()
    coordinates[ours.virtual_cb, 4] = np.nan
    np.testing.assert_array_equal(coordinates, expected)


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
        assert np.array_equal(ours.coordinates[int(position) - 1, ATOMS.index(atom)], np.float32(xyz))


@needs("mmcif")
@pytest.mark.parametrize(("name", "chains"), [("4uv3", 18), ("5yh2", 4)])
def test_deposited_entry(name, chains):
    path = SHARED / f"mmcif/{name}.cif"
    structure = MMCIFParser(QUIET=True).get_structure("", path)
    entry = Entry(path)
    assert len(entry.chains) == chains
    for chain in entry.chains:
        compare(entry.chain(chain), [residue for residue in structure[0][chain] if residue.id[0] == " "])


@needs("mmcif")
def test_deposited_sequences():
    entry = Entry(SHARED / "mmcif/5yh2.cif")
    with open(SHARED / "mmcif/5yh2.cif") as handle:
        theirs = {record.id.partition(":")[2]: str(record.seq) for record in SeqIO.parse(handle, "cif-seqres")}
    ours = [entry.chain(name) for name in entry.chains]
    assert {chain.label_chain: chain.sequence for chain in ours} == theirs


@needs("mmcif")
def test_deposited_entry_as_a_pdb_file_with_seqres(tmp_path):
    structure = gemmi.read_structure(str(SHARED / "mmcif/5yh2.cif"))
    structure.write_pdb(str(tmp_path / "5yh2.pdb"))
    deposited, written = Entry(SHARED / "mmcif/5yh2.cif"), Entry(tmp_path / "5yh2.pdb")
    assert written.chains == deposited.chains
    for name in written.chains:
        ours, theirs = written.chain(name), deposited.chain(name)
        assert (ours.sequence, ours.auth_numbers, ours.resolution) == (
            theirs.sequence,
            theirs.auth_numbers,
            theirs.resolution,
        )
        np.testing.assert_array_equal(ours.coordinates, theirs.coordinates)
    # The unresolved residues at the ends of a range are numbered by the mmCIF's scheme alone.
    ours, theirs = (entry.chain("C", (174, 234)) for entry in (written, deposited))
    assert len(ours.sequence) == 61 and ours.mask.sum() == 39
    assert (ours.sequence, ours.auth_numbers) == (theirs.sequence, theirs.auth_numbers)


@needs("train/pdownb.tar.xz")
def test_full_atom_chains(tmp_path):
    with tarfile.open(SHARED / "train/pdownb.tar.xz", "r|xz") as archive:
        files = (member for member in archive if member.isfile() and member.name.endswith(".pdb"))
        for member in islice(files, 25):
            content = archive.extractfile(member).read()
            path = tmp_path / Path(member.name).name
            path.write_bytes(content)
            (theirs,) = PDBParser(QUIET=True).get_structure("", io.StringIO(content.decode()))[0]
            compare(read_chain(path, theirs.id), theirs)


@needs("casp")
def test_natives():
    with open(SHARED / "casp/targets.tsv") as handle:
        targets = list(csv.DictReader(handle, delimiter="\t"))
    for target in targets:
        native = read_model(SHARED / "casp" / target["file"])
        present = [letter for letter, number in zip(native.sequence, native.auth_numbers, strict=True) if number]
        assert "".join(present) == target["seq_from_native"], target["target"]
    for target in targets[::15]:
        path = SHARED / "casp" / target["file"]
        theirs = next(PDBParser(QUIET=True).get_structure("", path).get_chains())
        compare(read_model(path), theirs)


@needs("casp")
def test_a_native_fills_the_positions_of_its_full_sequence():
    letters = "".join((SHARED / "casp/fasta_casp14_full/T1024.fasta").read_text().split("\n")[1:])
    native = read_model(SHARED / "casp/natives_scored_by_peers_casp14/T1024.pdb", letters)
    assert native.sequence == letters and len(letters) == 408
    assert np.flatnonzero(native.mask)[[0, -1]].tolist() == [1, 405] and native.mask.sum() == 392

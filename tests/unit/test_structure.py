import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardfold.structure.chain import Chain, StructureError, load_chains, save_chains
from hardfold.structure.parse import read_chain, read_model
from hardfold.structure.quality import QC_COLUMNS, drop_reason, extract_shard, unknown_fields
from hardfold.structure.targets import write_targets
from hardfold.structure.write import write_mmcif

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is absent")

LIMITS = {"min_length": 2, "max_length": 10, "min_resolved": 0.5, "max_resolution": 3.0, "max_nonstandard": 0.4}
COLUMNS = """group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id
label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy auth_seq_id auth_asym_id pdbx_PDB_model_num"""


def residue(number, name, *, auth=None, icode="?", atoms="N CA C O CB", altloc=".", occupancy=1.0, x=0.0, model=1):
    """Atom rows of one residue of chain B (label A); atoms lie at (x, index, number)."""
    return [
        f"ATOM 0 {atom[0]} {atom} {altloc} {name} A 1 {number} {icode} {x} {index} {number} {occupancy} "
        f"{auth if auth is not None else number} B {model}"
        for index, atom in enumerate(atoms.split())
    ]


def mmcif(residues, sequence=None, extra=""):
    """An mmCIF text; sequence: monomers of entity 1, `PRO+SER` for a heterogeneous one."""
    rows = [row for part in residues for row in part]
    text = "data_TEST\n_entry.id TEST\n" + extra
    if sequence:
        text += "loop_\n_entity.id\n_entity.type\n1 polymer\n2 water\n"
        text += "loop_\n_entity_poly.entity_id\n_entity_poly.type\n1 polypeptide(L)\n"
        text += "loop_\n_entity_poly_seq.entity_id\n_entity_poly_seq.num\n_entity_poly_seq.mon_id\n"
        for number, names in enumerate(sequence.split(), start=1):
            text += "".join(f"1 {number} {name}\n" for name in names.split("+"))
    return text + "loop_\n" + "".join(f"_atom_site.{name}\n" for name in COLUMNS.split()) + "\n".join(rows) + "\n"


@pytest.fixture
def read(tmp_path):
    """Write the text as an mmCIF file and read chain B of it."""

    def reader(text, **options):
        path = tmp_path / "1abc.cif"
        path.write_text(text)
        return read_chain(path, "B", **options)

    return reader


METADATA = """_exptl.method 'X-RAY DIFFRACTION'
_refine.pdbx_refine_id 'X-RAY DIFFRACTION'
_refine.ls_d_res_high 1.85
loop_
_pdbx_audit_revision_history.ordinal
_pdbx_audit_revision_history.revision_date
1 2014-09-24
2 2011-02-01
"""


def test_deposited_sequence_with_mask_and_both_numberings(read):
    text = mmcif([residue(2, "ALA", auth=7), residue(4, "LYS", auth=9)], "GLY ALA SER LYS", METADATA)
    chain = read(text, id="1abc_B")
    assert (chain.id, chain.sequence, chain.label_chain) == ("1abc_B", "GASK", "A")
    assert chain.mask.tolist() == [False, True, False, True]
    assert chain.auth_numbers == ("", "7", "", "9")
    assert chain.coordinates.dtype == np.float32
    assert chain.coordinates[1].tolist() == [[0, atom, 2] for atom in range(5)]
    assert np.isnan(chain.coordinates[0]).all()
    assert (chain.method, chain.resolution, chain.release_date) == ("X-RAY DIFFRACTION", 1.85, "2011-02-01")


def test_label_chain_id_is_not_taken_for_the_author_s(tmp_path):
    (tmp_path / "1abc.cif").write_text(mmcif([residue(1, "ALA")], "ALA"))
    with pytest.raises(StructureError, match="chain A is not among the protein chains of the file: B"):
        read_chain(tmp_path / "1abc.cif", "A")


def test_without_a_sequence_the_residues_present_are_the_sequence(read):
    chain = read(mmcif([residue(3, "ALA"), residue(7, "TRP")]))
    assert chain.sequence == "AW" and chain.mask.all() and chain.auth_numbers == ("3", "7")


def test_unknown_metadata_stay_unknown(read):
    text = mmcif([residue(1, "ALA"), residue(2, "ALA")], "ALA ALA", "_exptl.method ?\n_refine.ls_d_res_high ?\n")
    chain = read(text)
    assert (chain.method, chain.resolution, chain.release_date) == ("", None, "")
    assert unknown_fields(chain) == ["resolution", "method", "release_date"]
    assert drop_reason(chain, LIMITS) == ""


def test_highest_occupancy_wins_and_the_first_on_a_tie(read):
    chain = read(
        mmcif(
            [
                residue(1, "ALA", altloc="A", occupancy=0.3, x=1),
                residue(1, "ALA", altloc="B", occupancy=0.7, x=2),
                residue(2, "ALA", altloc="A", occupancy=0.5, x=1),
                residue(2, "ALA", altloc="B", occupancy=0.5, x=2),
                # One conformer lacks CB: it is taken from the other, the rest is not mixed.
                residue(3, "ALA", altloc="A", occupancy=0.4, x=1),
                residue(3, "ALA", altloc="B", occupancy=0.6, x=2, atoms="N CA C O"),
            ],
            "ALA ALA ALA",
        )
    )
    assert chain.coordinates[..., 0].tolist() == [[2] * 5, [1] * 5, [2, 2, 2, 2, 1]]


def test_microheterogeneity_takes_the_variant_listed_first(read):
    parts = [
        residue(1, "GLY", atoms="N CA C O"),
        residue(2, "SER", altloc="B", occupancy=0.6, x=2),
        residue(2, "PRO", altloc="A", occupancy=0.4, x=1),
    ]
    chain = read(mmcif(parts, "GLY PRO+SER"))
    assert chain.sequence == "GP" and chain.coordinates[1, 1, 0] == 1
    only_second = read(mmcif(parts[:2], "GLY PRO+SER"))
    assert only_second.sequence == "GP" and only_second.coordinates[1, 1, 0] == 2


def test_modified_residues_and_what_counts_as_nonstandard(read):
    names = "MSE SEP UNK SEC ALA"
    chain = read(mmcif([residue(i, name) for i, name in enumerate(names.split(), 1)], names))
    assert chain.sequence == "MSXXA"
    assert chain.nonstandard == 3  # SEP, UNK and SEC; not MSE


def test_insertion_codes_models_hydrogens_and_ligands(read):
    parts = [
        residue(1, "ALA", auth=52),
        residue(2, "SER", auth=52, icode="A", atoms="N H CA HA C O CB"),
        residue(1, "ALA", auth=52, x=9, model=2),
    ]
    ligand = ["HETATM 0 C CA . HEM L 2 . ? 5 5 5 1 900 B 1"]
    chain = read(mmcif([*parts[:2], ligand, parts[2]], "ALA SER"))
    assert chain.sequence == "AS" and chain.auth_numbers == ("52", "52A")
    assert chain.coordinates[0, 1, 0] == 0
    assert chain.coordinates[1, :, 1].tolist() == [0, 2, 4, 5, 6]


def test_virtual_cb_only_where_a_resolved_residue_lacks_it(read):
    names = "ALA ALA GLY ALA"
    chain = read(
        mmcif(
            [residue(1, "ALA"), residue(2, "ALA", atoms="N CA C O"), residue(3, "GLY", atoms="N CA C O"),
             residue(4, "ALA", atoms="CA")], names)
    )  # fmt: skip
    assert chain.virtual_cb.tolist() == [False, True, False, False]
    assert chain.mask.tolist() == [True, True, True, False]
    assert np.isfinite(chain.coordinates[:, 4]).all(axis=1).tolist() == [True, True, False, False]


def test_auth_range_keeps_internal_gaps(read):
    parts = [
        residue(1, "ALA", auth=-1),
        residue(2, "CYS", auth=10),
        residue(4, "GLU", auth=12),
        residue(5, "PHE", auth=40),
    ]
    text = mmcif(parts, "ALA CYS ASP GLU PHE GLY")
    chain = read(text, auth_range=(5, 30))
    assert chain.sequence == "CDE" and chain.auth_numbers == ("10", "", "12")
    with pytest.raises(StructureError, match="no residue numbered 50 to 60"):
        read(text, auth_range=(50, 60))


def test_auth_range_reaches_unresolved_ends_where_the_file_numbers_them(read):
    scheme = "loop_\n" + "".join(f"_pdbx_poly_seq_scheme.{name}\n" for name in ("asym_id", "seq_id", "pdb_seq_num"))
    scheme += "".join(f"A {position} {position + 100}\n" for position in range(1, 7))
    text = mmcif([residue(3, "ASP", auth=103)], "ALA CYS ASP GLU PHE GLY", scheme)
    assert read(text, auth_range=(102, 105)).sequence == "CDEF"


def test_pdb_file_with_seqres_and_a_gap(tmp_path):
    lines = ["SEQRES   1 B    6  ALA CYS ASP GLU PHE GLY".ljust(80)]
    serial = 0
    for number, name in ((11, "CYS"), (12, "ASP"), (14, "PHE")):
        for index, atom in enumerate(("N", "CA", "C", "O", "CB")):
            serial += 1
            lines.append(
                f"ATOM  {serial:5d}  {atom:<3s} {name} B{number:4d}    {3.8 * number:8.3f}{index:8.3f}{0:8.3f}"
                f"  1.00 20.00           {atom[0]}"
            )
    path = tmp_path / "pdb1abc.pdb.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, "TER", "END", ""]).encode()))
    chain = read_chain(path, "B")
    assert chain.sequence == "ACDEFG" and chain.auth_numbers == ("", "11", "12", "", "14", "")
    assert (chain.label_chain, chain.resolution) == ("", None)
    # As a model, the author's numbers are the positions.
    model = read_model(path)
    assert model.sequence == "X" * 10 + "CDXF" and np.flatnonzero(model.mask).tolist() == [10, 11, 13]


def test_sequence_and_atoms_that_disagree_are_refused(read):
    with pytest.raises(StructureError, match="residue 2 is TRP, but ALA in the sequence"):
        read(mmcif([residue(1, "ALA"), residue(2, "TRP")], "ALA ALA"))
    with pytest.raises(StructureError, match="without a place of their own"):
        read(mmcif([residue(1, "ALA"), residue(3, "ALA")], "ALA ALA"))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.cif", b"<html><body>502 Bad Gateway</body></html>", "not a readable mmCIF file"),
        ("a.pdb", b"<html><body>502 Bad Gateway</body></html>", "no atoms"),
        ("a.cif", b"", "empty file"),
        ("a.cif", b"data_x\n_entry.id x\n", "no atoms"),
        ("a.cif", b"data_x\nloop_\n_a.b\n_a.c\n1 2 3\n", "not a readable mmCIF file"),
        ("a.cif.gz", gzip.compress(bytes(range(256)) * 64)[:-20], "broken gzip file"),
        ("a.cif.gz", b"data_x", "broken gzip file"),
        ("a.pdb", b"ATOM      1  N   MET     1     -12.088  16.2", "not a readable PDB file"),
    ],
)
def test_malformed_files_have_a_reason_in_one_line(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    for reader in (lambda path: read_chain(path, "A"), read_model):
        with pytest.raises(StructureError, match=reason) as caught:
            reader(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_missing_file_has_a_reason(tmp_path):
    with pytest.raises(StructureError, match="no such file"):
        read_model(tmp_path / "none.cif")


@settings(max_examples=60, deadline=None)
@given(start=st.floats(0, 1), length=st.integers(0, 40), junk=st.binary(max_size=12))
def test_a_damaged_file_gives_a_chain_or_a_reason(tmp_path_factory, start, length, junk):
    text = mmcif([residue(1, "ALA"), residue(2, "CYS", icode="A")], "ALA CYS ASP", METADATA).encode()
    cut = int(start * len(text))
    path = tmp_path_factory.mktemp("damaged") / "1abc.cif"
    path.write_bytes(text[:cut] + junk + text[cut + length :])
    try:
        chain = read_chain(path, "B", (1, 2))
    except StructureError:
        return
    assert len(chain.sequence) == len(chain.mask) == len(chain.coordinates) > 0


def test_model_positions_are_residue_numbers(tmp_path):
    path = tmp_path / "model.cif"
    path.write_text(mmcif([residue(2, "ALA", auth=77), residue(4, "LYS", auth=79)], "GLY ALA SER LYS"))
    assert read_model(path).sequence == "GASK"
    path.write_text(mmcif([residue(2, "ALA", auth=77), residue(4, "LYS", auth=79)]))
    assert read_model(path).sequence == "XAXK"
    for fault, parts in (
        ("positions start at 1", [residue(".", "ALA", auth=0)]),
        ("stands twice", [residue(".", "ALA", auth=5), residue(".", "SER", auth=5, icode="A")]),
    ):
        path.write_text(mmcif(parts))
        with pytest.raises(StructureError, match=fault):
            read_model(path)


@pytest.fixture
def example():
    """GASK with an unresolved S, a built CB and known metadata."""
    coordinates = np.random.default_rng(0).uniform(-99, 99, (4, 5, 3)).round(3)
    coordinates[2], coordinates[1, 4], coordinates[0, 4] = np.nan, np.nan, np.nan
    return Chain.from_atoms(
        "1abc_B", "GASK", coordinates, auth_numbers=("-1", "7", "", "9A"), label_chain="A", method="X-RAY DIFFRACTION",
        resolution=1.5, release_date="2011-02-01", nonstandard=1,
    )  # fmt: skip


def test_written_mmcif_reads_back_numbered_by_position(tmp_path, example):
    path = tmp_path / "model.cif"
    write_mmcif(example, path, plddt=np.array([10.0, 20.126, 30.0, 40.0]))
    model = read_model(path)
    assert model.sequence == "GASK" and model.mask.tolist() == [True, True, False, True]
    assert model.auth_numbers == ("1", "2", "", "4")
    assert model.virtual_cb.tolist() == example.virtual_cb.tolist() == [False, True, False, False]
    assert np.nanmax(np.abs(model.coordinates - example.coordinates)) < 2e-3
    row = next(
        line.split() for line in path.read_text().splitlines() if line.startswith("ATOM") and " CA . ALA" in line
    )
    assert "20.13" in row
    assert not any(" CB . ALA" in line for line in path.read_text().splitlines())


def test_written_native_claims_no_b_factors(tmp_path, example):
    write_mmcif(example, tmp_path / "a.cif")
    import gemmi

    block = gemmi.cif.read(str(tmp_path / "a.cif")).sole_block()
    assert set(block.find_values("_atom_site.B_iso_or_equiv")) == {"?"}
    assert list(block.find_values("_atom_site.label_seq_id")) == list(block.find_values("_atom_site.auth_seq_id"))


def test_saved_chains_load_back_equal_and_bytes_repeat(tmp_path, example):
    unknown = replace(example, id="2abc_A", resolution=None, method="")
    for name in ("a.h5", "b.h5"):
        save_chains(tmp_path / name, [example, unknown])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    loaded = load_chains(tmp_path / "a.h5")
    assert list(loaded) == ["1abc_B", "2abc_A"]
    for chain in (example, unknown):
        for name in Chain.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(loaded[chain.id], name), getattr(chain, name))


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"min_length": 5}, "length 4 below 5"),
        ({"max_length": 3}, "length 4 above 3"),
        ({"min_resolved": 0.8}, "resolved fraction 0.750 below 0.8"),
        ({"max_resolution": 1.4}, "resolution 1.5 A above 1.4 A"),
        ({"max_nonstandard": 0.2}, "nonstandard fraction 0.250 above 0.2"),
        ({}, ""),
    ],
)
def test_each_limit_gives_its_reason(example, limit, reason):
    assert drop_reason(example, LIMITS | limit) == reason


def test_every_input_record_has_its_quality_control_row(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    whole = mmcif([residue(1, "ALA"), residue(2, "CYS")], "ALA CYS ASP", "_exptl.method ?\n")
    (folder / "1abc.cif").write_text(whole)
    (folder / "2abc.cif.gz").write_bytes(gzip.compress(whole.encode())[:-9])
    (folder / "3abc.cif").write_text("<html></html>")
    records = [
        {"id": "1abc_B", "chain": "1abc_B", "auth_range": ""},
        {"id": "1abc_Z", "chain": "1abc_Z", "auth_range": ""},
        {"id": "2abc_B", "chain": "2abc_B", "auth_range": ""},
        {"id": "3abc_B", "chain": "3abc_B", "auth_range": ""},
        {"id": "9abc_B", "chain": "9abc_B", "auth_range": ""},
        {"id": "short", "chain": "1abc_B", "auth_range": "1-1"},
    ]
    downloads = pd.DataFrame([{**record, "source": "mirror", "reason": ""} for record in records])
    downloads.loc[downloads["id"] == "9abc_B", "reason"] = "HTTP status 404"
    downloads.to_csv(tmp_path / "raw.tsv", sep="\t", index=False)
    extract_shard(
        records=records, folder=folder, downloads=tmp_path / "raw.tsv", limits=LIMITS, chains=tmp_path / "chains.h5",
        qc=tmp_path / "qc.tsv",
    )  # fmt: skip
    table = pd.read_csv(tmp_path / "qc.tsv", sep="\t", dtype=str, keep_default_na=False).set_index("chain")
    assert list(table.reset_index().columns) == QC_COLUMNS
    assert sorted(table.index) == sorted(record["id"] for record in records)
    kept = table.loc["1abc_B"]
    assert kept[["status", "reason", "length", "resolved", "resolution"]].tolist() == ["kept", "", "3", "2", ""]
    assert kept["checks_not_possible"] == "resolution,method,release_date"
    reasons = {
        "1abc_Z": "chain Z is not among",
        "2abc_B": "broken gzip",
        "3abc_B": "not a readable mmCIF",
        "9abc_B": "HTTP status 404",
        "short": "length 1 below 2",
    }
    for name, reason in reasons.items():
        assert table.loc[name, "status"] == "dropped" and reason in table.loc[name, "reason"]
    assert list(load_chains(tmp_path / "chains.h5")) == ["1abc_B"]


def test_targets_are_written_with_their_units_and_numbers(tmp_path, example):
    save_chains(tmp_path / "shard.h5", [replace(example, id="T1")])
    table = tmp_path / "targets.tsv"
    table.write_text("target\tchain\tclass\tunits\nT1\t1abc_B\thard\tD1:1-4;D2:1-2,4-4\nT2\t1abc_B\thard\t\n")
    write_targets([tmp_path / "shard.h5"], table, tmp_path / "targets")
    assert sorted(path.name for path in (tmp_path / "targets").iterdir()) == ["T1.cif", "numbering.tsv", "units.tsv"]
    assert (tmp_path / "targets/units.tsv").read_text() == (
        "target\tunit\tstart\tend\nT1\tD1\t1\t4\nT1\tD2\t1\t2\nT1\tD2\t4\t4\nT1\tchain\t1\t4\n"
    )
    assert (tmp_path / "targets/numbering.tsv").read_text() == (
        "target\tposition\tauth_number\nT1\t1\t-1\nT1\t2\t7\nT1\t3\t\nT1\t4\t9A\n"
    )
    assert read_model(tmp_path / "targets/T1.cif").sequence == "GASK"
    table.write_text("target\tchain\tclass\tunits\nT1\t1abc_B\thard\tD1:1-5\n")
    with pytest.raises(StructureError, match="unit D1 of T1, 1-5, is not within 1-4"):
        write_targets([tmp_path / "shard.h5"], table, tmp_path / "targets")
    table.write_text("target\tchain\tclass\tunits\nT1\t1abc_B\thard\tD1:1-3\n")
    with pytest.raises(StructureError, match="unit D1 of T1 has 2 resolved residues to score"):
        write_targets([tmp_path / "shard.h5"], table, tmp_path / "targets")


@needs_shared
def test_entries_as_deposited():
    chain = read_chain(SHARED / "data/mmcif/4uv3.cif", "R")
    assert (len(chain.sequence), chain.mask.sum(), chain.resolution) == (262, 247, 3.59)
    assert (chain.method, chain.release_date) == ("X-RAY DIFFRACTION", "2014-09-24")
    # The author's chain B is the file's label C.
    cut = read_chain(SHARED / "data/mmcif/5yh2.cif", "B", (100, 300))
    assert len(cut.sequence) == 201 and cut.auth_numbers[0] == "100" and cut.label_chain == "C"


@needs_shared
@pytest.mark.parametrize(("target", "length", "resolved"), [("T1024", 406, 392), ("T1030", 273, 273)])
def test_casp_natives_are_numbered_as_scored(target, length, resolved):
    native = read_model(SHARED / f"data/casp/natives_scored_by_peers_casp14/{target}.pdb")
    assert (len(native.sequence), native.mask.sum()) == (length, resolved)

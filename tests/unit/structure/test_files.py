"""What a structure file can have wrong, and what it says of its source."""

import gzip

import numpy as np
import pytest
from made_up_files import mmcif, pdb, pdb_residue, residue

from hardfold.structure.chain import StructureError
from hardfold.structure.parse import Entry, read_chain, read_model

WHOLE = mmcif([residue(1, "ALA"), residue(2, "CYS")], "ALA CYS")


@pytest.fixture
def written(tmp_path):
    """Write text or bytes as a file, an mmCIF unless the name says else, and give its path."""

    def writer(content, name="1abc.cif"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return writer


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


def test_the_format_is_told_by_the_name_and_gz_may_follow(written):
    text = pdb([pdb_residue(1, "ALA"), pdb_residue(2, "CYS")])
    for name, content in (("a.mmcif", WHOLE), ("a.CIF", WHOLE), ("a.pdb", text), ("a.ent", text)):
        assert read_chain(written(content, name), "B").sequence == "AC"
        assert read_chain(written(gzip.compress(content.encode()), f"{name}.gz"), "B").sequence == "AC"


@pytest.mark.parametrize(
    ("name", "text"), [("a.cif", WHOLE), ("a.pdb", pdb([pdb_residue(1, "ALA"), pdb_residue(2, "CYS")], "ALA CYS"))]
)
def test_carriage_returns_and_a_byte_order_mark_change_nothing(written, name, text):
    plain = read_chain(written(text, name), "B")
    for content in (text.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + text.encode()):
        chain = read_chain(written(content, name), "B")
        assert chain.sequence == plain.sequence == "AC"
        np.testing.assert_array_equal(chain.coordinates, plain.coordinates)


def test_text_and_names_beyond_ascii(written):
    remark = "REMARK   1 AUTH   M.MÜLLER, Å"
    text = pdb([pdb_residue(1, "ALA", x=3.25)], header=[remark])
    for encoding in ("utf-8", "latin-1"):
        path = written(text.encode(encoding), "Strukturé 1.pdb")
        assert read_chain(path, "B").coordinates[0, :, 0].tolist() == [3.25] * 5
    text = mmcif([residue(1, "ALA")], "ALA", "_citation_author.name 'Müller, M.'\n")
    assert read_chain(written(text, "蛋白质.cif"), "B").sequence == "A"


@pytest.mark.parametrize("value", ["?", ".", "nan", "inf", "-inf", "1e50", "1e400", "*******", "x"])
def test_an_atom_without_finite_coordinates_is_absent(written, value):
    # The CA of residue 2 has no y.
    text = WHOLE.replace("CA . CYS A 1 2 ? 0.0 1 2", f"CA . CYS A 1 2 ? 0.0 {value} 2")
    chain = read_chain(written(text), "B")
    assert chain.mask.tolist() == [True, False]
    assert np.isnan(chain.coordinates[1, 1]).all() and np.isfinite(chain.coordinates[1, [0, 2, 3, 4]]).all()


@pytest.mark.parametrize("value", ["?", "", "nan", "-inf", "*******", "-"])
def test_an_unreadable_coordinate_of_a_pdb_file_is_absent_not_zero(written, value):
    lines = pdb([pdb_residue(1, "ALA"), pdb_residue(2, "CYS", x=5.0)]).splitlines()
    for field in range(30, 54, 8):
        damaged = list(lines)
        damaged[6] = lines[6][:field] + value.rjust(8) + lines[6][field + 8 :]
        chain = read_chain(written("\n".join(damaged), "a.pdb"), "B")
        assert chain.mask.tolist() == [True, False] and np.isnan(chain.coordinates[1, 1]).all()
        assert chain.coordinates[1, 2].tolist() == [5, 2, 2]


def test_a_chain_of_which_no_residue_is_resolved(written):
    rows = [row.replace(" 0.0 ", " ? ") for number in (1, 2) for row in residue(number, "ALA")]
    chain = read_chain(written(mmcif([rows], "ALA ALA")), "B")
    assert chain.sequence == "AA" and not chain.mask.any() and np.isnan(chain.coordinates).all()
    with pytest.raises(StructureError, match="chain C is not among the protein chains with atoms: B"):
        read_chain(written(WHOLE), "C")


@pytest.mark.parametrize(
    ("extra", "date"),
    [
        ("_database_PDB_rev.date 2003-04-01\n", "2003-04-01"),
        ("loop_\n_database_PDB_rev.num\n_database_PDB_rev.date\n2 2009-02-24\n1 2003-04-01\n", "2003-04-01"),
        ("_database_PDB_rev.date ?\n", ""),
        ("_pdbx_audit_revision_history.revision_date soon\n", ""),
        # The map of an EM entry has a history of its own.
        (
            "loop_\n_pdbx_audit_revision_history.data_content_type\n_pdbx_audit_revision_history.revision_date\n"
            "'EM metadata' 2018-01-01\n'Structure model' 2020-02-05\n'Structure model' 2019-01-02\n",
            "2019-01-02",
        ),
    ],
)
def test_release_is_the_first_revision_of_the_model(written, extra, date):
    assert read_chain(written(mmcif([residue(1, "ALA")], "ALA", extra)), "B").release_date == date


def test_experiment_of_an_mmcif_file(written):
    extra = "loop_\n_exptl.entry_id\n_exptl.method\n1 'SOLUTION NMR'\n1 'SOLID-STATE NMR'\n"
    chain = read_chain(written(mmcif([residue(1, "ALA")], "ALA", extra)), "B")
    assert (chain.method, chain.resolution) == ("SOLUTION NMR; SOLID-STATE NMR", None)
    extra = "_exptl.method 'ELECTRON MICROSCOPY'\n_em_3d_reconstruction.resolution 3.2\n"
    chain = read_chain(written(mmcif([residue(1, "ALA")], "ALA", extra)), "B")
    assert (chain.method, chain.resolution) == ("ELECTRON MICROSCOPY", 3.2)


def test_experiment_and_release_of_a_pdb_file(written):
    header = [
        "HEADER    TRANSFERASE                             05-MAY-97   1ABC",
        "EXPDTA    X-RAY DIFFRACTION",
        "REVDAT   2   24-FEB-09 1ABC    1       VERSN",
        "REVDAT   1   12-AUG-98 1ABC    0",
        "REMARK   2",
        "REMARK   2 RESOLUTION.    1.85 ANGSTROMS.",
    ]
    chain = read_chain(written(pdb([pdb_residue(1, "ALA")], header=header), "a.pdb"), "B")
    assert (chain.method, chain.resolution, chain.release_date) == ("X-RAY DIFFRACTION", 1.85, "1998-08-12")
    # The deposition date is no release, nor is a later revision.
    chain = read_chain(written(pdb([pdb_residue(1, "ALA")], header=header[:3]), "a.pdb"), "B")
    assert chain.release_date == ""
    chain = read_chain(written(pdb([pdb_residue(1, "ALA")], header=["REVDAT   1   99-XYZ-98 1ABC    0"]), "a.pdb"), "B")
    assert chain.release_date == ""
    header = ["EXPDTA    SOLUTION NMR", "REMARK   2", "REMARK   2 RESOLUTION. NOT APPLICABLE."]
    chain = read_chain(written(pdb([pdb_residue(1, "ALA")], header=header), "a.pdb"), "B")
    assert (chain.method, chain.resolution) == ("SOLUTION NMR", None)


def test_an_entry_reads_its_file_once(written):
    rows = [row for name in ("b", "AB", "C1") for row in _of_chain(residue(1, "ALA"), name)]
    path = written(mmcif([rows], "ALA GLY"))
    entry = Entry(path)
    path.unlink()
    assert entry.chains == ["b", "AB", "C1"]
    assert [entry.chain(name).sequence for name in entry.chains] == ["AG"] * 3
    assert [entry.chain(name).label_chain for name in entry.chains] == ["Ab", "AAB", "AC1"]


def _of_chain(rows, name):
    return [row.replace(" A 1 ", f" A{name} 1 ").replace(" B 1", f" {name} 1") for row in rows]


def test_chain_names_of_pdb_files(written):
    parts = [pdb_residue(1, "ALA", chain="a"), ["TER"], pdb_residue(1, "CYS", chain="A"), ["TER"],
             pdb_residue(1, "ASP", chain="Bc")]  # fmt: skip
    entry = Entry(written(pdb(parts), "a.pdb"))
    assert {name: entry.chain(name).sequence for name in entry.chains} == {"a": "A", "A": "C", "Bc": "D"}
    blank = Entry(written(pdb([pdb_residue(1, "ALA", chain=" ")], "ALA GLY", chain=" "), "a.pdb"))
    assert blank.chains == ["A"] and blank.chain("A").sequence == "AG"


def test_names_too_long_to_be_a_chain_s_are_refused(written):
    with pytest.raises(StructureError, match="8\\+ char"):
        Entry(written(WHOLE.replace(" B 1\n", " abcdefghijk 1\n")))

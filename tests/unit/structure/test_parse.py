import gzip
from pathlib import Path

import numpy as np
import pytest
from made_up_files import mmcif, pdb, pdb_residue, residue

from hardfold.structure.chain import Chain, StructureError
from hardfold.structure.parse import read_chain, read_model
from hardfold.structure.write import write_mmcif

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data folder is absent")


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
    with pytest.raises(StructureError, match="chain A is not among the protein chains with atoms: B"):
        read_chain(tmp_path / "1abc.cif", "A")


def test_without_a_sequence_the_residues_present_are_the_sequence(read):
    chain = read(mmcif([residue(3, "ALA"), residue(7, "TRP")]))
    assert chain.sequence == "AW" and chain.mask.all() and chain.auth_numbers == ("3", "7")


def test_without_a_sequence_gaps_in_rising_numbers_are_unresolved(tmp_path):
    path = tmp_path / "a.pdb"

    def read(*seqids, **options):
        path.write_text(pdb([pdb_residue(number, "ALA", icode=icode) for number, icode in seqids]))
        return read_chain(path, "B", **options)

    chain = read((3, " "), (4, " "), (7, " "))
    assert (chain.sequence, chain.auth_numbers, chain.deposited) == ("AAXXA", ("3", "4", "", "", "7"), False)
    assert chain.mask.tolist() == [True, True, False, False, True] and chain.modified == ()
    assert read((3, " "), (4, " "), (7, " "), auth_range=(4, 6)).sequence == "AXX"
    for other in (
        [(3, " "), (4, " "), (9, " ")],  # more than twice as long
        [(3, " "), (5, "A"), (6, " ")],
        [(4, " "), (3, " "), (6, " ")],
    ):
        assert read(*other).sequence == "AAA"


def test_unknown_metadata_stay_unknown(read):
    text = mmcif([residue(1, "ALA"), residue(2, "ALA")], "ALA ALA", "_exptl.method ?\n_refine.ls_d_res_high ?\n")
    chain = read(text)
    assert (chain.method, chain.resolution, chain.release_date) == ("", None, "")


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


def test_a_variant_that_the_sequence_does_not_list_is_left_out(tmp_path):
    path = tmp_path / "a.pdb"
    variants = [pdb_residue(2, "SER", altloc="A", occupancy=0.7, x=1), pdb_residue(2, "PRO", altloc="B", occupancy=0.3)]
    path.write_text(pdb([pdb_residue(1, "ALA"), *variants], "ALA PRO"))
    assert read_chain(path, "B").sequence == read_model(path).sequence == "AP"
    assert read_chain(path, "B").coordinates[1, 1, 0] == 0
    # The locations of the variant that counts compete among themselves.
    locations = [
        pdb_residue(2, "PRO", altloc="B", occupancy=0.1, x=3),
        pdb_residue(2, "PRO", altloc="C", occupancy=0.2),
    ]
    path.write_text(pdb([pdb_residue(1, "ALA"), variants[0], *locations], "ALA PRO"))
    assert read_chain(path, "B").coordinates[1, :, 0].tolist() == [0] * 5
    path.write_text(pdb([pdb_residue(1, "ALA"), *variants]))
    assert read_chain(path, "B").sequence == "AS" and read_chain(path, "B").coordinates[1, 1, 0] == 1


def test_modified_residues_and_what_counts_as_nonstandard(read):
    names = "MSE SEP UNK SEC ALA"
    chain = read(mmcif([residue(i, name) for i, name in enumerate(names.split(), 1)], names))
    assert chain.sequence == "MSXXA"
    assert chain.nonstandard == 3  # SEP, UNK and SEC; not MSE
    assert chain.modified == ("1:MSE", "2:SEP", "3:UNK", "4:SEC")


def test_modified_residues_are_counted_along_the_range(read):
    parts = [residue(1, "MSE"), residue(2, "ALA"), residue(3, "MSE")]
    chain = read(mmcif(parts, "MSE ALA MSE SEP"), auth_range=(2, 3))
    assert chain.sequence == "AM" and chain.modified == ("2:MSE",)
    # Unresolved ones are known from the sequence.
    assert read(mmcif(parts, "MSE ALA MSE SEP")).modified == ("1:MSE", "3:MSE", "4:SEP")


def test_the_file_names_the_parent_of_a_monomer_that_is_not_tabulated(read, tmp_path):
    columns = "id label_asym_id label_comp_id label_seq_id auth_asym_id auth_comp_id auth_seq_id PDB_ins_code"
    values = ["1", "A", "Q1X", "1", "B", "Q1X", "1", "?"]
    extra = "".join(f"_pdbx_struct_mod_residue.{k} {v}\n" for k, v in zip(columns.split(), values, strict=True))
    extra += "_pdbx_struct_mod_residue.parent_comp_id LYS\n"
    parts = [residue(1, "Q1X"), residue(2, "ALA")]
    chain = read(mmcif(parts, "Q1X ALA", extra))
    assert (chain.sequence, chain.modified, chain.nonstandard) == ("KA", ("1:Q1X",), 1)
    assert read(mmcif(parts, "Q1X ALA")).sequence == "XA"
    path = tmp_path / "a.pdb"
    header = ["MODRES 1ABC Q1X B    1  LYS  SOMETHING"]
    path.write_text(pdb([pdb_residue(1, "Q1X"), pdb_residue(2, "ALA")], "Q1X ALA", header=header))
    assert read_chain(path, "B").sequence == "KA"


@pytest.mark.parametrize("entity", ["_entity.id 1\n_entity.type polymer\n", ""])
def test_the_one_letter_sequence_counts_where_no_other_stands(read, entity):
    poly = entity + "_entity_poly.entity_id 1\n_entity_poly.type polypeptide(L)\n"
    letters = "_entity_poly.pdbx_seq_one_letter_code\n;G(MSE)A\nXK(SEP)\n;\n"
    chain = read(mmcif([residue(2, "MSE"), residue(5, "LYS")], extra=poly + letters))
    assert (chain.sequence, chain.mask.tolist()) == ("GMAXKS", [False, True, False, False, True, False])
    assert chain.modified == ("2:MSE", "4:UNK", "6:SEP")
    with pytest.raises(StructureError, match="not a readable mmCIF file"):
        read(mmcif([residue(2, "MSE")], extra=poly + "_entity_poly.pdbx_seq_one_letter_code G(MSE\n"))


def test_residues_without_label_numbers_are_aligned_with_the_sequence(read):
    chain = read(mmcif([residue(".", "ALA", auth=12), residue(".", "LYS", auth=14)], "GLY ALA SER LYS TRP"))
    assert chain.sequence == "GASKW" and chain.auth_numbers == ("", "12", "", "14", "")


def test_a_chain_of_alpha_carbons_only(read):
    chain = read(mmcif([residue(number, "ALA", atoms="CA") for number in (1, 2, 3)], "ALA ALA ALA"))
    assert chain.sequence == "AAA" and not chain.mask.any() and not chain.virtual_cb.any()
    assert np.isfinite(chain.coordinates[:, 1]).all() and np.isnan(chain.coordinates[:, [0, 2, 3, 4]]).all()


def test_a_chain_of_five_thousand_residues(tmp_path):
    rng = np.random.default_rng(0)
    coordinates = np.cumsum(rng.normal(size=(5000, 1, 3)), axis=0) + rng.normal(size=(5000, 5, 3))
    chain = Chain.from_atoms("long", "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 5000)), coordinates.round(3))
    write_mmcif(chain, tmp_path / "long.cif")
    back = read_chain(tmp_path / "long.cif", "A")
    assert back.sequence == chain.sequence and back.mask.all()
    np.testing.assert_array_equal(back.coordinates, chain.coordinates)


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


def test_auth_range_numbers_unresolved_residues_by_their_neighbours(read):
    sequence = "ALA CYS ASP GLU PHE GLY HIS ILE LYS LEU"
    text = mmcif([residue(3, "ASP", auth=103), residue(5, "PHE", auth=105), residue(8, "ILE", auth=208)], sequence)
    assert read(text, auth_range=(101, 105)).sequence == "ACDEF"
    assert read(text, auth_range=(104, 104)).sequence == "E"  # unresolved as a whole
    assert read(text, auth_range=(105, 209)).sequence == "FGHIK"
    assert read(text, auth_range=(50, 999)).sequence == "ACDEFGHIKL"
    for auth_range, end in (((102, 106), 106), ((150, 210), 150), ((207, 210), 207)):
        with pytest.raises(StructureError, match=f"numbers no unresolved residues about {end}, .* use mmCIF"):
            read(text, auth_range=auth_range)
    # Numbers that fall: the first residues of the gap may be 106 and 107.
    falling = text.replace(" 208 B ", " 8 B ")
    assert read(falling, auth_range=(8, 9)).sequence == "IK"
    with pytest.raises(StructureError, match="about 107"):
        read(falling, auth_range=(102, 107))


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
    with pytest.raises(StructureError, match=r"residue 3 \(ALA\) has no place in the sequence"):
        read(mmcif([residue(1, "ALA"), residue(3, "ALA")], "ALA ALA"))


def test_residues_that_stand_twice_are_refused(read, tmp_path):
    with pytest.raises(StructureError, match="position 1 has two N atoms: a residue stands twice"):
        read(mmcif([residue(1, "ALA"), residue(2, "ALA"), residue(1, "ALA", x=5)], "ALA ALA"))
    with pytest.raises(StructureError, match="residues 7 and 8 share position 1"):
        read(mmcif([residue(1, "ALA", auth=7), residue(1, "ALA", auth=8)], "ALA ALA"))
    path = tmp_path / "a.pdb"
    for twice in ("ALA", "SER"):
        path.write_text(pdb([pdb_residue(1, "GLY"), pdb_residue(2, "ALA"), pdb_residue(2, twice, x=5)]))
        for reader in (lambda path: read_chain(path, "B"), read_model):
            with pytest.raises(StructureError, match="position 2 has two N atoms"):
                reader(path)


def test_a_residue_without_a_number_is_refused(tmp_path):
    (line,) = pdb_residue(1, "ALA", atoms="CA")
    (tmp_path / "a.pdb").write_text(f"{line[:22]}    {line[26:]}\n")
    with pytest.raises(StructureError, match="chain B has a residue without a number"):
        read_chain(tmp_path / "a.pdb", "B")


def test_residues_of_a_chain_need_not_stand_together(read):
    ligand = ["HETATM 0 C CA . HEM L 2 . ? 5 5 5 1 900 B 1"]
    other = [row.replace(" A 1 ", " C 1 ").replace(" B 1", " C 1") for row in residue(1, "ALA", x=7)]
    chain = read(mmcif([residue(1, "ALA"), ligand, other, residue(2, "GLY")], "ALA GLY"))
    assert chain.sequence == "AG" and chain.mask.all() and chain.coordinates[0, 0, 0] == 0


def test_model_positions_are_residue_numbers(tmp_path):
    path = tmp_path / "model.cif"
    path.write_text(mmcif([residue(2, "ALA", auth=77), residue(4, "LYS", auth=79)], "GLY ALA SER LYS"))
    assert read_model(path).sequence == "GASK"
    path.write_text(mmcif([residue(2, "ALA", auth=77), residue(4, "LYS", auth=79)]))
    assert read_model(path).sequence == "XAXK"
    for fault, parts in (
        ("residue number 0 is not a position", [residue(".", "ALA", auth=0)]),
        ("residue number 5A is not a position", [residue(".", "ALA", auth=5, icode="A")]),
        ("residue number 1000000000 is not a position", [residue(".", "ALA", auth=10**9)]),
    ):
        path.write_text(mmcif(parts))
        with pytest.raises(StructureError, match=fault):
            read_model(path)


def test_model_with_its_full_sequence_given(tmp_path):
    path = tmp_path / "T1.pdb"
    path.write_text(pdb([pdb_residue(2, "ALA"), pdb_residue(3, "MSE"), pdb_residue(5, "UNK")]))
    model = read_model(path, "gamskZ", id="T1")
    assert (model.id, model.sequence, model.modified) == ("T1", "GAMSKX", ("3:MSE", "5:UNK"))
    assert model.mask.tolist() == [False, True, True, False, True, False]
    assert model.auth_numbers == ("", "2", "3", "", "5", "")
    with pytest.raises(StructureError, match="residue 3 is M, but W at position 3 of the sequence given"):
        read_model(path, "GAWSKK")
    with pytest.raises(StructureError, match="residue number 5 lies beyond the sequence of 4"):
        read_model(path, "GAMS")


def test_the_file_s_own_sequence_counts_if_the_numbers_are_positions_in_it(tmp_path):
    path = tmp_path / "T1.pdb"
    path.write_text(pdb([pdb_residue(2, "ALA"), pdb_residue(4, "LYS")], "GLY ALA SER LYS TRP"))
    assert read_model(path).sequence == "GASKW"
    path.write_text(pdb([pdb_residue(3, "ALA"), pdb_residue(5, "LYS")], "GLY ALA SER LYS TRP"))
    assert read_model(path).sequence == "XXAXK"


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

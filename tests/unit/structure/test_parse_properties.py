"""Property-based tests of the parser: damaged files, chains written and read back, altlocs, insertion codes."""

import gzip
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_files import mmcif, pdb, pdb_residue, residue

from hardfold.geometry import ATOMS
from hardfold.structure.chain import Chain, StructureError
from hardfold.structure.parse import Entry, read_chain, read_model
from hardfold.structure.write import write_mmcif

METADATA = "_exptl.method 'X-RAY DIFFRACTION'\n_refine.ls_d_res_high 1.85\n_database_PDB_rev.date 2011-02-01\n"
PARTS = [residue(1, "MSE", altloc="A", occupancy=0.5), residue(1, "MSE", altloc="B", occupancy=0.5),
         residue(2, "CYS", auth=1, icode="A"), residue(3, "SER"), residue(3, "PRO", altloc="A")]  # fmt: skip
SCHEME = "loop_\n_pdbx_poly_seq_scheme.asym_id\n_pdbx_poly_seq_scheme.seq_id\n_pdbx_poly_seq_scheme.pdb_seq_num\n"
SCHEME += "A 1 1\nA 2 1\nA 3 3\nA 4 4\n"
LINES = [pdb_residue(1, "MSE", altloc="A"), pdb_residue(1, "CYS", icode="A"), pdb_residue(3, "SER")]
WHOLE = {
    "1abc.cif": mmcif(PARTS, "MSE CYS SER+PRO ASP", METADATA + SCHEME).encode(),
    "1abc.pdb": pdb(LINES, "MSE CYS SER ASP", header=["REVDAT   1   12-AUG-98 1ABC    0"]).encode(),
}
WHOLE["1abc.cif.gz"] = gzip.compress(WHOLE["1abc.cif"], mtime=0)


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=150, deadline=None)
@given(start=st.floats(0, 1), length=st.integers(0, 60), junk=st.binary(max_size=12) | st.text("0123456789.-? ;_'\n"))
def test_a_damaged_file_gives_a_chain_or_a_reason(tmp_path_factory, name, start, length, junk):
    content = WHOLE[name]
    junk = junk if isinstance(junk, bytes) else junk.encode()
    cut = int(start * len(content))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content[:cut] + junk + content[cut + length :])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (
            lambda: read_chain(path, "B"),
            lambda: read_chain(path, "B", (1, 4)),
            lambda: read_model(path),
            lambda: read_model(path, "MCSD"),
        ):
            try:
                chain = read()
            except StructureError as fault:
                assert "\n" not in str(fault)
                continue
            length = len(chain.sequence)
            assert 0 < length == len(chain.mask) == len(chain.coordinates) == len(chain.auth_numbers)
            assert np.abs(chain.coordinates[np.isfinite(chain.coordinates)]).max(initial=0) < 1e4


@st.composite
def chains(draw):
    """Any chain that a file can hold: some atoms missing anywhere, at least one there."""
    length = draw(st.integers(1, 12))
    sequence = draw(st.text("ACDEFGHIKLMNPQRSTVWYX", min_size=length, max_size=length))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    coordinates = rng.uniform(-999, 999, (length, 5, 3)).round(3)
    present = np.array(draw(st.lists(st.booleans(), min_size=5 * length, max_size=5 * length))).reshape(length, 5)
    present[draw(st.integers(0, length - 1)), draw(st.integers(0, 4))] = True
    coordinates[~present] = np.nan
    return Chain.from_atoms("1abc_A", sequence, coordinates)


@settings(max_examples=100, deadline=None)
@given(chain=chains())
def test_a_chain_written_is_read_back_equal(tmp_path_factory, chain):
    path = tmp_path_factory.mktemp("written") / "1abc.cif"
    write_mmcif(chain, path)
    for back in (read_model(path), read_chain(path, "A"), read_model(path, chain.sequence)):
        assert back.sequence == chain.sequence
        np.testing.assert_array_equal(back.coordinates, chain.coordinates)
        np.testing.assert_array_equal(back.mask, chain.mask)
        np.testing.assert_array_equal(back.virtual_cb, chain.virtual_cb)
        present = np.isfinite(chain.coordinates).any(axis=(1, 2))
        assert back.auth_numbers == tuple(str(i) if there else "" for i, there in enumerate(present, start=1))


atoms = st.lists(
    st.tuples(st.sampled_from(ATOMS), st.sampled_from(".ABC"), st.sampled_from([0.25, 0.5, 0.75])),
    min_size=1, max_size=15, unique_by=lambda atom: atom[:2],
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(residues=st.lists(atoms, min_size=1, max_size=4))
def test_alternative_locations_are_chosen_as_a_plain_loop_would(tmp_path_factory, residues):
    rows, expected, x = [], np.full((len(residues), 5), np.nan), 0
    for place, content in enumerate(residues):
        occupancies, candidates = {}, []
        for name, altloc, occupancy in content:
            x += 1
            rows += residue(place + 1, "ALA", atoms=name, altloc=altloc, occupancy=occupancy, x=x)
            candidates.append((name, altloc, x))
            if altloc != ".":
                occupancies[altloc] = occupancies.get(altloc, 0) + occupancy
        best = max(occupancies, key=occupancies.get, default=".")
        for name, _, position in sorted(candidates, key=lambda candidate: candidate[1] != best):
            if np.isnan(expected[place, ATOMS.index(name)]):
                expected[place, ATOMS.index(name)] = position
    path = tmp_path_factory.mktemp("altlocs") / "1abc.cif"
    path.write_text(mmcif([rows], " ".join(["ALA"] * len(residues))))
    chain = read_chain(path, "B")
    found = chain.coordinates[:, :, 0].copy()
    found[chain.virtual_cb, 4] = np.nan
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(seqids=st.lists(st.tuples(st.integers(-9, 99), st.sampled_from(" AZ")), min_size=1, max_size=9, unique=True))
def test_insertion_codes_and_any_order_of_numbers(tmp_path_factory, seqids):
    folder = tmp_path_factory.mktemp("numbers")
    names = ["ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS"][: len(seqids)]
    letters = "ACDEFGHIK"[: len(seqids)]
    parts = zip(range(1, 10), seqids, names, strict=False)
    rows = [residue(i, name, auth=number, icode=icode.replace(" ", "?")) for i, (number, icode), name in parts]
    lines = [pdb_residue(number, name, icode=icode) for (number, icode), name in zip(seqids, names, strict=True)]
    for name, text in (("a.cif", mmcif(rows, " ".join(names))), ("a.pdb", pdb(lines))):
        (folder / name).write_text(text)
        entry = Entry(folder / name)
        chain = entry.chain("B")
        resolved = [number for number in chain.auth_numbers if number]
        assert resolved == [f"{number}{icode.strip()}" for number, icode in seqids]
        assert "".join(letter for letter, there in zip(chain.sequence, chain.mask, strict=True) if there) == letters
        assert chain.deposited == (name == "a.cif") and len(chain.sequence) <= 2 * len(seqids)
        assert chain.mask.all() or (not chain.deposited and resolved == sorted(resolved, key=int))
        first = seqids[0][0]
        assert entry.chain("B", (first, first)).auth_numbers[0] == chain.auth_numbers[0]

import numpy as np
import pytest

from hardfold.alignment import AlignmentError
from hardfold.search.given import read_given

QUERY = "ACDEF"


def rows(alignment):
    return [row.tobytes().decode() for row in alignment.rows]


def write(path, *sequences):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".sto":
        lines = ["# STOCKHOLM 1.0", *(f"{path.stem}{i} {row}" for i, row in enumerate(sequences)), "//"]
    elif path.suffix == ".aln":
        lines = sequences
    else:
        lines = [f">{path.stem}{i}\n{row}" for i, row in enumerate(sequences)]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("suffix", [".a3m", ".sto", ".aln"])
def test_a_file_named_by_the_chain(tmp_path, suffix):
    write(tmp_path / f"1abc_A{suffix}", QUERY, "AC-EF", "AC-EF")
    assert rows(read_given(tmp_path, "1abc_A", QUERY)) == [QUERY, "AC-EF", "AC-EF"]
    assert read_given(tmp_path, "1abc_B", QUERY) is None


def test_openfolds_files_are_joined_in_a_fixed_order_without_repeats_and_templates(tmp_path):
    folder = tmp_path / "1abc_A"
    write(folder / "mgnify_hits.sto", QUERY, "AC-EF", "MMMMM")
    write(folder / "bfd_uniclust_hits.a3m", QUERY, "BBkBBB", "UUUUU")
    write(folder / "uniref90_hits.sto", "AC.DEF", "UUUUUU", "AC.-EF")
    write(folder / "pdb_hits.sto", QUERY, "PPPPP")
    write(folder / "hmm_output.sto", QUERY, "PPPPP")
    write(folder / "another.a3m", QUERY, "ZZZZZ")
    (folder / "pdb70_hits.hhr").write_text("templates")
    found = read_given(tmp_path, "1abc_A", QUERY)
    assert rows(found) == [QUERY, "UUUUU", "AC-EF", "BBBBB", "MMMMM", "ZZZZZ"]
    assert found.names == (
        *["uniref90_hits0", "uniref90_hits1", "uniref90_hits2"],
        *["bfd_uniclust_hits1", "mgnify_hits2", "another1"],
    )


def test_openproteinsets_folder(tmp_path):
    write(tmp_path / "1abc_A/a3m/uniref90_hits.a3m", QUERY, "UUUUU")
    write(tmp_path / "1abc_A/a3m/bfd_uniclust_hits.a3m", QUERY, "BBBBB")
    assert rows(read_given(tmp_path, "1abc_A", QUERY)) == [QUERY, "UUUUU", "BBBBB"]
    (tmp_path / "1xyz_A").mkdir()
    assert read_given(tmp_path, "1xyz_A", QUERY) is None


def test_one_faulty_file_refuses_the_whole(tmp_path):
    write(tmp_path / "1abc_A/uniref90_hits.sto", QUERY, "UUUUU")
    write(tmp_path / "1abc_A/mgnify_hits.sto", "ACDEG")
    with pytest.raises(AlignmentError, match=r"mgnify_hits\.sto: .* has G at position 5, the chain F"):
        read_given(tmp_path, "1abc_A", QUERY)


def test_the_chains_x_stands_in_every_joined_file(tmp_path):
    write(tmp_path / "1abc_A/uniref90_hits.sto", "ACMEF", "UUUUU")
    write(tmp_path / "1abc_A/mgnify_hits.sto", "ACXEF", "MMMMM")
    found = read_given(tmp_path, "1abc_A", "ACXEF")
    assert rows(found) == ["ACXEF", "UUUUU", "MMMMM"]
    assert found.rows.dtype == np.uint8

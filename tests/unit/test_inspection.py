import h5py
import numpy as np
import pytest

from hardfold.__main__ import main
from hardfold.inspection import inspect


def write_chains(path, lengths, parent="chains/"):
    with h5py.File(path, "w") as file:
        for id, length in lengths.items():
            file[f"{parent}{id}/mask"] = np.arange(length) > 0
            file[f"{parent}{id}/distance_map"] = np.zeros((length, length), np.float16)
            file[f"{parent}{id}/sequence"] = "A" * length
        file.attrs["config"] = '{"max_rows": 2}'
        file.attrs["format_version"] = "1"


def join(path, shards):
    """A file whose chains are linked to those of the shards."""
    with h5py.File(path, "w") as file:
        for shard, ids in shards.items():
            for id in ids:
                file[f"chains/{id}"] = h5py.ExternalLink(shard, f"/chains/{id}")
    return path


def test_a_file_of_chains(tmp_path, capsys):
    write_chains(tmp_path / "shard.h5", {"1abc_A": 5, "2abc_A": 3})
    assert main(["inspect", str(tmp_path / "shard.h5")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/shard.h5: 2 chains",
        "  residues: 8, 6 resolved; 3 to 5 a chain",
        "  distance_map: 2 of float16, (3, 3) to (5, 5), 0.00 MB stored",
        "  mask: 2 of bool, (3,) to (5,), 0.00 MB stored",
        "  sequence: 2 of text",
        "  config:",
        "    max_rows: 2",
        "  format_version: 1",
    ]


def test_a_joined_file_names_its_shards(tmp_path):
    write_chains(tmp_path / "a.h5", {"1abc_A": 5})
    write_chains(tmp_path / "b.h5", {"2abc_A": 3})
    text = inspect(join(tmp_path / "train.h5", {"a.h5": ["1abc_A"], "b.h5": ["2abc_A"]}))
    assert "train.h5: 2 chains\n  linked to 2 files, a.h5 to b.h5\n  residues: 8, 6 resolved" in text


def test_predictions_lie_by_chain_at_the_root(tmp_path):
    with h5py.File(tmp_path / "predictions.h5", "w") as file:
        file["1abc_A/contact_probability"] = np.zeros((9, 9), np.float16)
        file.attrs["experiment"] = "exp1"
    lines = inspect(tmp_path / "predictions.h5").splitlines()
    assert lines[1:] == ["  contact_probability: 1 of float16, (9, 9) to (9, 9), 0.00 MB stored", "  experiment: exp1"]


def test_of_many_chains_some_are_looked_at(tmp_path):
    write_chains(tmp_path / "many.h5", {f"{number:04}_A": number + 1 for number in range(50)})
    lines = inspect(tmp_path / "many.h5", most=8).splitlines()
    assert lines[0].endswith(": 50 chains") and lines[1] == "  of 8 chains, evenly chosen:"
    assert lines[2].endswith("1 to 50 a chain") and "mask: 8 of bool" in lines[4]


def test_a_file_without_chains(tmp_path):
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_group("chains")
    assert inspect(tmp_path / "empty.h5").endswith("empty.h5: 0 chains")


def test_bad_files_give_one_line_and_exit_code_1(tmp_path, capsys):
    text, arrays = tmp_path / "text.h5", tmp_path / "arrays.h5"
    text.write_text("not HDF5")
    with h5py.File(arrays, "w") as file:
        file["values"] = [1, 2]
    lost = join(tmp_path / "lost.h5", {"gone.h5": ["1abc_A"]})
    write_chains(tmp_path / "other.h5", {"2abc_A": 3})
    odd = join(tmp_path / "odd.h5", {"other.h5": ["1abc_A"]})
    faults = {
        text: "not a readable HDF5 file",
        arrays: "not laid out by chains (values is an array)",
        tmp_path / "none.h5": "no such file",
        lost: "1 of 1 files linked to are missing, gone.h5 first",
        odd: "1abc_A is linked to",
    }
    for path, fault in faults.items():
        assert main(["inspect", str(path)]) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
        assert captured.err.startswith(f"error: {path}: ") and fault in captured.err


@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_the_chains_looked_at_are_few_and_spread(tmp_path, most):
    write_chains(tmp_path / "many.h5", {f"{number}_A": 4 for number in range(6)})
    assert f"mask: {min(most, 6)} of bool" in inspect(tmp_path / "many.h5", most=most)

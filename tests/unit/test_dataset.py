import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from hardfold import dataset
from hardfold.__main__ import main
from hardfold.alignment import AlignmentError
from hardfold.dataset import Dataset, DatasetError
from hardfold.structure.chain import Chain, save_chains

SETTINGS = {"dataset": {"max_rows": 2}}


def make_chain(id, sequence):
    """Residues 4 angstrom apart along x, the last one unresolved."""
    coordinates = np.full((len(sequence), 5, 3), np.nan)
    for atom, offset in enumerate([(-1, 0.5, 0), (0, 0, 0), (1, 0.5, 0), (1, 1.5, 0), (0, 0, 1)]):
        coordinates[:, atom] = offset
    coordinates[..., 0] += 4 * np.arange(len(sequence))[:, None]
    coordinates[-1] = np.nan
    return Chain.from_atoms(id, sequence, coordinates)


@pytest.fixture
def tree(tmp_path):
    """Two built shards and an assignment below results/, as the workflow lays them out."""
    results = tmp_path / "results"
    (results / "splits").mkdir(parents=True)
    chains = {"chains0000": [make_chain("1abc_A", "GACDE"), make_chain("2abc_A", "ACW")]}
    chains["targets0000"] = [make_chain("T1", "GAK")]
    for shard, members in chains.items():
        save_chains(results / f"structures/shards/{shard}.h5", members)
        folder = results / f"alignments/{shard}"
        folder.mkdir(parents=True)
        for chain in members:
            rows = [chain.sequence, "-" + chain.sequence[1:].replace("C", "cC"), chain.sequence]
            (folder / f"{chain.id}.a3m").write_text("".join(f">{i}\n{row}\n" for i, row in enumerate(rows)))
        build(results, shard)
    write_assignment(results, {"1abc_A": "train", "2abc_A": "dropped", "T1": "target"})
    return results


def build(results, shard):
    output = results / f"dataset/shards/{shard}.h5"
    dataset.build_shard(results / f"structures/shards/{shard}.h5", results / f"alignments/{shard}", output, 2)
    return output


def write_assignment(results, splits):
    rows = "".join(f"{chain}\t{chain}\t{split}\n" for chain, split in splits.items())
    (results / "splits/assignment.tsv").write_text(f"chain\tcluster\tsplit\n{rows}")


def join(results):
    shards = sorted((results / "dataset/shards").iterdir())
    outputs = {split: results / f"dataset/{split}.h5" for split in ("train", "validation", "target")}
    dataset.join(shards, results / "splits/assignment.tsv", outputs, SETTINGS)
    return outputs


def test_shard_holds_the_contract_s_arrays(tree):
    with h5py.File(tree / "dataset/shards/chains0000.h5") as file:
        group = file["chains/1abc_A"]
        kinds = {name: (array.shape, str(array.dtype)) for name, array in group.items() if array.shape}
        assert kinds == {
            "msa": ((2, 5), "uint8"),
            "coordinates": ((5, 5, 3), "float32"),
            "mask": ((5,), "bool"),
            "contact_map": ((5, 5), "uint8"),
            "distance_map": ((5, 5), "float16"),
            "angle_map": ((5, 2), "float32"),
        }
        assert group["sequence"].asstr()[()] == "GACDE"
        assert group["coordinates"].attrs["virtual_cb"].tolist() == [False] * 5
        assert set(dataset.DEFINITIONS) == set(group)


def test_record_has_the_values_counted_by_hand(tree):
    record = Dataset(tree / "dataset/shards/chains0000.h5")["1abc_A"]
    # CB lie at (4 i, 0, 1); the first residue is Gly, whose CA at the origin stands for it.
    assert record.distance_map[1, :4] == pytest.approx([np.sqrt(17), 0, 4, 8], abs=2e-3)
    assert record.contact_map.tolist() == [
        [1, 1, 0, 0, 255],
        [1, 1, 1, 0, 255],
        [0, 1, 1, 1, 255],
        [0, 0, 1, 1, 255],
        [255] * 5,
    ]
    assert record.distance_map.dtype == np.float32 and np.isnan(record.distance_map[4]).all()
    assert record.mask.tolist() == [True] * 4 + [False]
    assert [bytes(row).decode() for row in record.msa] == ["GACDE", "-ACDE"]
    assert np.isnan(record.angle_map[:, 0]).tolist() == [True, False, False, False, True]
    assert np.isnan(record.angle_map[:, 1]).tolist() == [False, False, False, True, True]


def test_join_links_each_chain_to_its_split(tree):
    outputs = join(tree)
    ids = {split: Dataset(path).ids for split, path in outputs.items()}
    assert ids == {"train": ["1abc_A"], "validation": [], "target": ["T1"]}
    assert [record.sequence for record in Dataset(outputs["target"])] == ["GAK"]
    with h5py.File(outputs["train"]) as file:
        assert file["chains"].get("1abc_A", getlink=True).filename == "shards/chains0000.h5"
        assert file["chains/1abc_A/mask"].shape == (5,)
        assert file.attrs["format_version"] == dataset.FORMAT_VERSION
        assert json.loads(file.attrs["definitions"]) == dataset.DEFINITIONS


def test_joined_files_move_with_their_shards(tree, tmp_path, monkeypatch):
    join(tree)
    shutil.move(tree, tmp_path / "moved")
    monkeypatch.chdir("/")
    assert len(Dataset(tmp_path / "moved/dataset/train.h5")["1abc_A"].mask) == 5


def test_files_repeat_bit_for_bit(tree):
    files = [tree / "dataset/shards/chains0000.h5", join(tree)["train"]]
    before = [file.read_bytes() for file in files]
    build(tree, "chains0000")
    join(tree)
    assert [file.read_bytes() for file in files] == before


def test_hashes_follow_the_sources_and_the_settings(tree):
    def hashes(file):
        with h5py.File(file) as handle:
            return json.loads(handle.attrs["source_hashes"]), handle.attrs["config_hash"]

    shard, joined = tree / "dataset/shards/chains0000.h5", join(tree)["train"]
    before = hashes(shard), hashes(joined)
    with open(tree / "alignments/chains0000/2abc_A.a3m", "a") as handle:
        handle.write(">more\nACW\n")
    build(tree, "chains0000")
    join(tree)
    assert hashes(shard)[0]["structures"] == before[0][0]["structures"]
    assert hashes(shard)[0]["alignments"] != before[0][0]["alignments"]
    assert hashes(joined)[0]["shards"] != before[1][0]["shards"]
    assert hashes(joined)[1] == before[1][1] != hashes(shard)[1]


@pytest.mark.parametrize(
    ("splits", "fault"),
    [
        ({"1abc_A": "train", "T1": "target"}, "2abc_A and 0 more stand in only one"),
        ({"1abc_A": "train", "2abc_A": "train", "T1": "target", "9abc_A": "train"}, "9abc_A and 0 more"),
        ({"1abc_A": "train", "2abc_A": "holdout", "T1": "target"}, "split holdout is none of"),
    ],
)
def test_join_refuses_an_assignment_that_does_not_fit(tree, splits, fault):
    write_assignment(tree, splits)
    with pytest.raises(DatasetError, match=fault):
        join(tree)


def test_shard_refuses_a_missing_or_foreign_alignment(tree):
    path = tree / "alignments/chains0000/2abc_A.a3m"
    path.write_text(">other\nACY\n")
    with pytest.raises(AlignmentError):
        build(tree, "chains0000")
    path.unlink()
    with pytest.raises(DatasetError, match=r"2abc_A: its alignment .* is missing"):
        build(tree, "chains0000")
    assert sorted(os.listdir(tree / "dataset/shards")) == ["chains0000.h5", "targets0000.h5"]


def test_lost_shard_and_unknown_id_are_told_apart(tree):
    path = join(tree)["target"]
    with pytest.raises(KeyError):
        Dataset(path)["9abc_A"]
    (tree / "dataset/shards/targets0000.h5").unlink()
    with pytest.raises(DatasetError, match=r"T1 is not to be found in shards/targets0000\.h5"):
        Dataset(path)["T1"]


def test_inspect_prints_what_a_file_holds(tree, capsys):
    assert main(["inspect", str(join(tree)["train"])]) == 0
    text = capsys.readouterr().out
    assert "train.h5: 1 chains" in text and "residues: 5, 4 resolved; 5 to 5 a chain" in text
    assert "distance_map: 1 of float16, (5, 5) to (5, 5)" in text and "config_hash" in text
    assert main(["inspect", str(tree / "structures/shards/chains0000.h5")]) == 0
    assert "residues: 8, 6 resolved; 3 to 5 a chain" in capsys.readouterr().out


def test_bad_files_give_one_line_and_exit_code_1(tree, tmp_path, capsys):
    text, arrays = tmp_path / "text.h5", tmp_path / "arrays.h5"
    text.write_text("not HDF5")
    with h5py.File(arrays, "w") as file:
        file["values"] = [1, 2]
    join(tree)
    (tree / "dataset/shards/targets0000.h5").unlink()
    for path in (text, arrays, tmp_path / "none.h5", tree / "dataset/target.h5"):
        assert main(["inspect", str(path)]) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
        assert str(Path(path).name) in captured.err
    with pytest.raises(DatasetError, match="not a hardfold data set"):
        Dataset(arrays)

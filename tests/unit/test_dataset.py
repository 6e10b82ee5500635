import json
import os
import shutil
import signal
import subprocess
import sys
import tracemalloc

import h5py
import numpy as np
import pytest
from torch.utils.data import DataLoader

from hardfold import dataset
from hardfold.alignment import AlignmentError, choose_rows
from hardfold.dataset import Dataset, DatasetError
from hardfold.hdf5 import HDF5Error
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
    chains = {"chains00/chains0000": [make_chain("1abc_A", "GACDE"), make_chain("2abc_A", "ACW")]}
    chains["targets00/targets0000"] = [make_chain("T1", "GAK")]
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


def build(results, shard, selection="top"):
    output = results / f"dataset/shards/{shard}.h5"
    structures, alignments = results / f"structures/shards/{shard}.h5", results / f"alignments/{shard}"
    dataset.build_shard(structures, alignments, output, max_rows=2, selection=selection)
    return output


def write_assignment(results, splits):
    rows = "".join(f"{chain}\t{chain}\t{split}\n" for chain, split in splits.items())
    (results / "splits/assignment.tsv").write_text(f"chain\tcluster\tsplit\n{rows}")


def join(results):
    shards = sorted((results / "dataset/shards").glob("*/*.h5"))
    outputs = {split: results / f"dataset/{split}.h5" for split in ("train", "validation", "target")}
    dataset.join(shards, results / "splits/assignment.tsv", outputs, SETTINGS)
    return outputs


def test_shard_holds_the_contract_s_arrays(tree):
    with h5py.File(tree / "dataset/shards/chains00/chains0000.h5") as file:
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


def test_definitions_name_all_that_a_chain_holds(tree):
    with h5py.File(tree / "dataset/shards/chains00/chains0000.h5") as file:
        assert set(file["chains/1abc_A"]) == set(dataset.DEFINITIONS) == set(json.loads(file.attrs["definitions"]))
        described = dataset.DEFINITIONS["msa"] + dataset.DEFINITIONS["coordinates"]
        attributes = {name for array in file["chains/1abc_A"].values() for name in array.attrs}
        assert attributes and all(name in described for name in attributes)


def test_record_has_the_values_counted_by_hand(tree):
    record = Dataset(tree / "dataset/shards/chains00/chains0000.h5")["1abc_A"]
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
        assert file["chains"].get("1abc_A", getlink=True).filename == "shards/chains00/chains0000.h5"
        assert file["chains/1abc_A/mask"].shape == (5,)
        assert file.attrs["format_version"] == dataset.FORMAT_VERSION
        assert json.loads(file.attrs["definitions"]) == dataset.DEFINITIONS


def test_joined_files_move_with_their_shards(tree, tmp_path, monkeypatch):
    join(tree)
    shutil.move(tree, tmp_path / "moved")
    monkeypatch.chdir("/")
    assert len(Dataset(tmp_path / "moved/dataset/train.h5")["1abc_A"].mask) == 5


def test_files_repeat_bit_for_bit(tree):
    files = [tree / "dataset/shards/chains00/chains0000.h5", join(tree)["train"]]
    before = [file.read_bytes() for file in files]
    build(tree, "chains00/chains0000")
    join(tree)
    assert [file.read_bytes() for file in files] == before


def test_hashes_follow_the_sources_and_the_settings(tree):
    def hashes(file):
        with h5py.File(file) as handle:
            return json.loads(handle.attrs["source_hashes"]), handle.attrs["config_hash"]

    shard, joined = tree / "dataset/shards/chains00/chains0000.h5", join(tree)["train"]
    before = hashes(shard), hashes(joined)
    with open(tree / "alignments/chains00/chains0000/2abc_A.a3m", "a") as handle:
        handle.write(">more\nACW\n")
    build(tree, "chains00/chains0000")
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
    path = tree / "alignments/chains00/chains0000/2abc_A.a3m"
    path.write_text(">other\nACY\n")
    with pytest.raises(AlignmentError):
        build(tree, "chains00/chains0000")
    path.unlink()
    with pytest.raises(DatasetError, match=r"2abc_A: its alignment .* is missing"):
        build(tree, "chains00/chains0000")
    assert os.listdir(tree / "dataset/shards/chains00") == ["chains0000.h5"]


def test_lost_shard_and_unknown_id_are_told_apart(tree):
    path = join(tree)["target"]
    with pytest.raises(KeyError):
        Dataset(path)["9abc_A"]
    (tree / "dataset/shards/targets00/targets0000.h5").unlink()
    with pytest.raises(HDF5Error, match=r"shards/targets00/targets0000\.h5: no such file"):
        Dataset(path)["T1"]
    save_chains(tree / "dataset/shards/targets00/targets0000.h5", [])
    with pytest.raises(DatasetError, match=r"T1 is linked to .*targets0000\.h5, which does not hold it"):
        Dataset(path)["T1"]
    with pytest.raises(DatasetError, match=r"targets0000\.h5: not a hardfold data set"):
        Dataset(tree / "dataset/shards/targets00/targets0000.h5")


@pytest.mark.parametrize("selection", ["top", "diverse"])
def test_rows_are_stored_in_the_order_of_choice(tree, selection):
    rows = ["GACDE", "GACDE", "GACD-", "WWWWW"]
    text = "".join(f">{i}\n{row}\n" for i, row in enumerate(rows))
    (tree / "alignments/chains00/chains0000/1abc_A.a3m").write_text(text)
    with h5py.File(build(tree, "chains00/chains0000", selection)) as file:
        msa = file["chains/1abc_A/msa"]
        letters = np.array([list(row.encode()) for row in rows], np.uint8)
        assert np.array_equal(msa[()], letters[choose_rows(letters, 2, selection)])
        assert bytes(msa[1]).decode() == {"top": "GACDE", "diverse": "WWWWW"}[selection]
        assert dict(msa.attrs) == {"selection": selection, "alignment_rows": 4}
        assert json.loads(file.attrs["config"]) == {"max_rows": 2, "selection": selection}


def test_a_crop_is_the_part_of_the_whole(tree):
    chains = Dataset(tree / "dataset/shards/chains00/chains0000.h5")
    whole, crop = chains["1abc_A"], chains.read("1abc_A", slice(1, 4), rows=1)
    assert crop.sequence == whole.sequence[1:4] and np.array_equal(crop.msa, whole.msa[:1, 1:4])
    for name in ("contact_map", "distance_map"):
        assert np.array_equal(getattr(crop, name), getattr(whole, name)[1:4, 1:4])
    for name in ("coordinates", "mask", "angle_map"):
        assert np.array_equal(getattr(crop, name), getattr(whole, name)[1:4], equal_nan=True)
    assert len(chains.read("1abc_A", slice(3, 99)).mask) == 2


def long_shard(folder, count, length, rows=2):
    """A built shard of `count` chains of `length` residues."""
    chains = [make_chain(f"1a{number:02}_A", "ACDEFGHIKL" * (length // 10)) for number in range(count)]
    save_chains(folder / "structures.h5", chains)
    for chain in chains:
        (folder / f"{chain.id}.a3m").write_text(f">{chain.id}\n{chain.sequence}\n" * rows)
    dataset.build_shard(folder / "structures.h5", folder, folder / "shard.h5", max_rows=rows, selection="top")
    return folder / "shard.h5"


@pytest.mark.parametrize(("length", "side"), [(10, 10), (500, 500), (520, 260), (1030, 344)])
def test_long_maps_lie_in_chunks_that_a_crop_needs_few_of(tmp_path, length, side):
    with h5py.File(long_shard(tmp_path, 1, length, rows=200)) as file:
        group = file["chains/1a00_A"]
        for name in ("contact_map", "distance_map"):
            assert (group[name].chunks, group[name].compression, group[name].shuffle) == ((side, side), "gzip", True)
        assert group["msa"].chunks == (128, length)


def test_memory_does_not_grow_with_the_chains(tmp_path):
    def peak(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        shard = long_shard(folder, count, 300)
        built = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert sum(record.mask.sum() for record in Dataset(shard)) == count * 299
        read = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return np.array([built, read])

    peak(1)
    one_map = 300 * 300 * 4  # bytes
    assert (peak(12) - peak(3) < one_map).all()


PLAIN_READER = """
import sys
import h5py
assert "hardfold" not in sys.modules
with h5py.File(sys.argv[1]) as file:
    for id, group in file["chains"].items():
        length = len(group["sequence"].asstr()[()])
        assert group["distance_map"][()].shape == group["contact_map"][()].shape == (length, length)
        print(id, group["sequence"].asstr()[()], group["msa"][0].tobytes().decode(), group["coordinates"].shape)
"""


def test_plain_h5py_reads_it_without_our_code(tree, tmp_path):
    run = [sys.executable, "-I", "-c", PLAIN_READER, join(tree)["target"]]
    output = subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert output == "T1 GAK GAK (3, 5, 3)\n"


def test_many_processes_read_at_once(tree):
    write_assignment(tree, dict.fromkeys(["1abc_A", "2abc_A", "T1"], "train"))
    reader = [sys.executable, "-I", "-c", PLAIN_READER, join(tree)["train"]]
    readers = [subprocess.Popen(reader, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    with h5py.File(tree / "dataset/train.h5") as file:  # and this one holds it open
        assert len(file["chains/1abc_A/mask"]) == 5
        outputs = {process.communicate()[0] for process in readers}
    assert [output.count("\n") for output in outputs] == [3]


def test_loader_workers_share_one_dataset(tree):
    write_assignment(tree, dict.fromkeys(["1abc_A", "2abc_A", "T1"], "train"))
    chains = Dataset(join(tree)["train"])
    chains[chains.ids[0]]  # what was read before the workers start must not disturb them
    loader = DataLoader(chains, sampler=chains.ids * 5, batch_size=None, num_workers=2)
    assert [record.id for record in loader] == chains.ids * 5


KILLED_WRITER = """
import os, signal, sys
from hardfold import dataset
write = dataset._add_maps
def killed_at_the_second(group, *arguments):
    write(group, *arguments)
    if group.name == "/chains/2abc_A":
        os.kill(os.getpid(), signal.SIGKILL)
dataset._add_maps = killed_at_the_second
dataset.build_shard(*sys.argv[1:], max_rows=2, selection="top")
"""


def test_a_killed_writer_leaves_nothing_under_the_final_name(tree):
    output = tree / "dataset/shards/new.h5"
    arguments = [tree / "structures/shards/chains00/chains0000.h5", tree / "alignments/chains00/chains0000", output]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", KILLED_WRITER, *arguments], env=environment)
    assert run.returncode == -signal.SIGKILL
    assert not output.exists() and list(output.parent.glob(".new.h5.*.part"))
    dataset.build_shard(*arguments, max_rows=2, selection="top")
    assert Dataset(output).ids == ["1abc_A", "2abc_A"]


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_shard_is_refused(tree, kept):
    joined, shard = join(tree)["train"], tree / "dataset/shards/chains00/chains0000.h5"
    os.truncate(shard, int(shard.stat().st_size * kept))
    for read in (lambda: Dataset(shard), lambda: Dataset(joined)["1abc_A"], lambda: join(tree)):
        with pytest.raises(HDF5Error, match=r"chains0000\.h5: not a readable HDF5 file"):
            read()


def test_damaged_arrays_name_their_chain(tree):
    shard = tree / "dataset/shards/chains00/chains0000.h5"
    with h5py.File(shard) as file:
        chunk = file["chains/2abc_A/distance_map"].id.get_chunk_info(0)
    with open(shard, "r+b") as handle:
        handle.seek(chunk.byte_offset)
        handle.write(bytes(chunk.size))
    assert Dataset(shard)["1abc_A"].sequence == "GACDE"
    with pytest.raises(DatasetError, match=r"chains0000\.h5: 2abc_A is damaged"):
        Dataset(shard)["2abc_A"]


def test_a_shard_without_chains_is_written_and_joined(tree):
    save_chains(tree / "structures/shards/chains00/chains0001.h5", [])
    (tree / "alignments/chains00/chains0001").mkdir()
    assert Dataset(build(tree, "chains00/chains0001")).ids == []
    assert Dataset(join(tree)["train"]).ids == ["1abc_A"]


def test_join_refuses_a_chain_that_stands_twice(tree):
    shards = tree / "dataset/shards/chains00"
    shutil.copy(shards / "chains0000.h5", shards / "chains0001.h5")
    with pytest.raises(DatasetError, match=r"1abc_A and 1 more stand in both .*chains0000\.h5 and .*chains0001\.h5"):
        join(tree)

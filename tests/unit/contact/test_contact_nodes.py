"""Training on two machines, which are this one (unit/two_nodes/srun): what one machine alone comes to."""

import csv
import json
from pathlib import Path

import pytest
import torch

from hardfold.distributed import RankError

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the two machines are one: they have the same GPUs")


def losses(folder):
    rows = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return [[float(value) for name, value in row.items() if not name.endswith("_auc")] for row in rows]


def test_two_nodes_come_to_what_one_does(two_nodes, run):
    one, local, nodes = run("one"), run("local", devices=2), run("nodes", devices=2, nodes=2)
    for alone, together in zip(losses(one), losses(nodes), strict=True):
        assert together == pytest.approx(alone, rel=1e-5)
    for name in ("model.safetensors", "history.csv"):
        assert (nodes / name).read_bytes() == (local / name).read_bytes()
    assert json.loads((nodes / "config.json").read_text())["options"]["nodes"] == 2


def test_a_second_node_without_the_shared_folder_ends_all_and_is_told(
    two_nodes, run, chain_files, tmp_path, monkeypatch
):
    monkeypatch.chdir(chain_files["train"].parent)
    for split in ("train", "validation"):
        monkeypatch.setitem(chain_files, split, Path(chain_files[split].name))
    monkeypatch.setenv("FAKE_CWD", str(tmp_path))
    with pytest.raises(RankError, match=r"rank 1 of 2: HDF5Error: train.h5: no such file"):
        run("exp", devices=2, nodes=2)
    assert not (tmp_path / "exp/model.safetensors").exists()

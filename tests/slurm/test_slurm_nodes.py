"""A training on two nodes of a Slurm, a slurmd each on this machine, comes to what two processes of one machine do."""

import subprocess

import pytest
from submitted import Submitted
from tiny_run import build_folder, needs_search_tools

pytestmark = [pytest.mark.slurm, needs_search_tools]
CLUSTER = ["--two-nodes"]
TARGETS = ["results/experiments/exp1/model.safetensors"]


def change(nodes: int) -> dict:
    return {"shard_size": 20, "experiments": {"runs": {"exp1": {"devices": 2, "nodes": nodes}}}}


def test_a_training_on_two_nodes_is_as_one_on_two_local_devices(cluster, tmp_path):
    local = Submitted(build_folder(tmp_path), "local-gpu", change(1), TARGETS)
    local.start("--cores", "2").finish()
    nodes = local.before_training(tmp_path / "nodes")
    nodes.profile, nodes.change = "slurm-squeue", change(2)
    try:
        nodes.start().finish()
        (job,) = nodes.jobs("train_experiment", "all")
        show = subprocess.run(["scontrol", "show", "job", job], capture_output=True, text=True, check=True).stdout
        assert " NodeList=node[1-2]" in show and "NumNodes=2 NumCPUs=2 NumTasks=2" in show
    finally:
        nodes.end()
    one, two = local.results(), nodes.results()
    # It names the nodes.
    assert {name for name in one.keys() | two.keys() if one.get(name) != two.get(name)} == {
        "experiments/exp1/config.json"
    }
    nodes.record("a training on two nodes", "equal to one on two local devices")

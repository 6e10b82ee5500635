"""What jobs of the two tracks read: the layout of the workflow, by arm, baseline and experiment."""

import pytest

from hardfold.contact.keys import COUPLINGS, baseline_entries
from hardfold.job_inputs import (
    alignment_files,
    baseline_inputs,
    devices_fault,
    finetuning_chains,
    nodes_fault,
    prediction_adapters,
    training_resources,
    training_threads,
)


@pytest.mark.parametrize(
    ("arm", "chains"),
    [
        ("disjoint", "results/dataset/train.h5"),
        ("disjoint_alignment", "results/dataset/train.h5"),
        ("memorisation", "results/dataset/target.h5"),
        ("control_shuffled_labels", "results/folding/control_shuffled_labels/train.h5"),
        ("leave_one_out/fold2", "results/folding/leave_one_out/fold2/train.h5"),
    ],
)
def test_no_arm_but_memorisation_learns_from_the_targets(arm, chains):
    assert finetuning_chains(arm) == chains


def test_adapters_of_a_run():
    def adapters(arm):
        return prediction_adapters(arm, "3", range(1, 3), "esmfold_tiny")

    assert adapters("baseline") == []
    assert adapters("baseline_alignment") == ["results/weights/esmfold_tiny"]
    assert adapters("disjoint") == ["results/folding/disjoint/seed3/adapter"]
    assert adapters("control_swapped_alignment") == ["results/folding/disjoint_alignment/seed3/adapter"]
    assert adapters("leave_one_out") == [f"results/folding/leave_one_out/fold{fold}/seed3/adapter" for fold in (1, 2)]


def test_only_arms_with_alignments_read_them():
    assert alignment_files("disjoint", "train") == []
    expected = ["results/embeddings/profile/target.h5", "results/embeddings/couplings/target.h5"]
    assert alignment_files("control_swapped_alignment", "target") == expected


def test_what_a_baseline_reads_beside_the_data_set():
    entries = baseline_entries("esm2_t6_tiny")
    assert baseline_inputs(entries["base_rate"], ["test"]) == {}
    head = baseline_inputs(entries["attention_head"], ["train", "test"])
    assert head["weights"] == "results/weights/esm2_t6_tiny" and len(head["embeddings"]) == 2
    assert baseline_inputs(COUPLINGS, ["test"]) == {
        "embeddings": ["results/embeddings/couplings/test.h5"],
        "weights": [],
    }


def test_a_training_has_a_thread_a_device_and_one_a_worker():
    assert training_threads({"devices": 2, "num_workers": 3, "nodes": 1}) == 8
    assert training_threads({"devices": 4, "num_workers": 3, "nodes": 2}) == 8  # on each node


def test_a_training_on_one_node_asks_for_gpus_alone():
    assert training_resources({"devices": 2, "nodes": 1}) == {"gpu": 2}


@pytest.mark.parametrize(
    ("nodes", "resources", "on_slurm", "fault"),
    [
        (1, {"gpu_model": "a100"}, False, None),
        (2, {}, True, None),
        (2, {}, False, "needs --profile profiles/slurm"),
        (2, {"gpu_model": "a100"}, True, "by gres, not by gpu_model"),
    ],
)
def test_several_nodes_are_slurms_and_take_their_gpus_by_gres(nodes, resources, on_slurm, fault):
    found = nodes_fault([({"nodes": 1}, {}), ({"nodes": nodes}, resources)], on_slurm)
    assert fault in found if fault else found is None


@pytest.mark.parametrize(
    ("devices", "gpus", "refused"), [([1, 2], 1, True), ([1, 2], 2, False), ([2], 0, False), ([], 1, False)]
)
def test_more_devices_than_a_machine_has_gpus_are_refused(devices, gpus, refused):
    assert bool(devices_fault(devices, gpus)) == refused

"""The tiny configuration once through profiles/slurm-squeue, with a training that is killed for memory."""

import pytest
from tiny_run import needs_search_tools

pytestmark = [pytest.mark.workflow, needs_search_tools]


def test_a_job_killed_for_memory_comes_back_with_more_and_the_run_ends_well(cluster, tiny):
    # 400 MB hold a job's two Snakemakes, not the training beside them.
    options = ["mem_mb=400*3**(attempt-1)", "slurm_partition=gpu", "gpu_model=fake"]
    said = tiny.start("--set-resources", *(f"train_experiment:{option}" for option in options)).finish()
    assert "Trying to restart job" in said
    (killed, _), (_, memory) = tiny.queue("train_experiment", "all")
    logs = tiny.folder / "results/logs/slurm/rule_train_experiment/exp1"
    assert "Exceeded job memory limit" in (logs / f"{killed}.log").read_text()
    assert memory == "1200M"
    assert (tiny.folder / "results/experiments/exp1/metrics.json").is_file()
    assert (tiny.folder / "results/folding/disjoint/seed1/predictions.tsv").is_file()
    assert not tiny.jobs()
    tiny.record("tiny configuration, training killed for memory", "came back with 3 times the memory and passed")

"""What clusters do to jobs, and people to Snakemake: the rerun's results are those of an undisturbed run.

A run is disturbed while it trains: its data are copied from the undisturbed run.
"""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from submitted import wait_for
from tiny_run import needs_search_tools

pytestmark = [pytest.mark.slurm, needs_search_tools]


@pytest.fixture
def run(undisturbed, tmp_path):
    """A run that has yet to train, and is told from the undisturbed one by its results until it has."""
    run = undisturbed.before_training(tmp_path / "run")
    assert run.results() != undisturbed.results()
    yield run
    run.end()


def pid(cluster: Path, daemon: str) -> int:
    return int((cluster / "pids" / f"{daemon}.pid").read_text())


def is_gone(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def test_undisturbed_run_is_as_a_local_one(undisturbed, tmp_path):
    local = undisturbed.before_training(tmp_path / "local")
    local.profile = "local-gpu"
    local.start("--cores", "2").finish()
    assert local.results() == undisturbed.results()
    undisturbed.record("undisturbed", "results equal to those of a run without Slurm")


def test_a_cancelled_job_comes_back(run, undisturbed):
    job = run.start().wait_until_running("train_experiment")
    subprocess.run(["scancel", job], check=True)
    assert "SLURM status is: 'CANCELLED'" in run.finish()
    assert run.results() == undisturbed.results()
    run.record("scancel of a training", "tried again; equal")


def test_slurmd_stops_and_starts_again(cluster, run, undisturbed):
    run.start().wait_until_running("train_experiment")
    daemon = pid(cluster, "slurmd.node1")
    subprocess.run(["kill", str(daemon)], check=True)
    wait_for(lambda: is_gone(daemon), "slurmd has ended")
    time.sleep(10)
    subprocess.run(["slurmd", "-N", "node1"], check=True)
    run.finish()
    assert run.results() == undisturbed.results()
    run.record("slurmd away for 10 s", "its jobs went on; equal")


def test_the_controller_is_killed_and_starts_again(cluster, run, undisturbed):
    run.start().wait_until_running("train_experiment")
    time.sleep(10)  # it writes down every 5 s what it knows; of younger jobs it knows nothing afterwards
    daemon = pid(cluster, "slurmctld")
    subprocess.run(["kill", "-9", str(daemon)], check=True)
    time.sleep(15)
    subprocess.run(["slurmctld"], check=True)
    run.finish()
    assert run.results() == undisturbed.results()
    run.record("controller killed, away for 15 s", "its queue came back; equal")


def test_after_sigint_no_job_is_left_and_the_rerun_ends_well(run, undisturbed):
    run.start().wait_until_running("train_experiment")
    run.send(signal.SIGINT)
    wait_for(lambda: not run.jobs(), "the queue is empty")
    run.start().finish()
    assert run.results() == undisturbed.results()
    run.record("SIGINT to Snakemake", "it cancelled its jobs; after the rerun equal")


def test_after_sigkill_the_rerun_needs_no_unlock_and_cancels_what_was_left(run, undisturbed):
    left = run.start().wait_until_running("train_experiment")
    run.send(signal.SIGKILL)
    assert left in run.jobs()
    said = run.start().finish()
    assert "cancelling jobs of a run that was killed" in said and left in said
    assert run.results() == undisturbed.results()
    run.record("SIGKILL to Snakemake", "the rerun cancelled the jobs left; equal")


def test_a_second_run_beside_the_first_is_refused(run):
    run.start().wait_until_running("train_experiment")
    second = type(run)(run.folder)
    second.log = run.folder / "second.log"
    assert f"another run is at work in {run.folder}" in second.start().finish(code=1)
    run.send(signal.SIGINT)
    wait_for(lambda: not run.jobs(), "the queue is empty")


def test_an_impossible_request_gives_one_clear_message(run):
    said = run.start("--set-resources", "train_experiment:mem_mb=10**9", "--retries", "0").finish(code=1)
    assert said.count("Memory specification can not be satisfied") == 1
    run.record("a job of 1 PB", "refused by sbatch, its words in the message")

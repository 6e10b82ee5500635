"""Runs that are killed and started again have the results of an undisturbed one."""

import shutil

import pytest
import tiny
import torch
from kills import KINDS, print_kills, run_with_kills
from same_results import differences

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        not (shutil.which("hhblits") and shutil.which("mmseqs")), reason="HH-suite or MMseqs2 is not installed"
    ),
    pytest.mark.skipif(torch.cuda.is_available(), reason="results repeat bit for bit on a CPU alone"),
]
RUNS, KILLS = 5, 10  # of the long set


def test_trainings_killed_three_times_end_with_the_same_results(tiny_run, tmp_path):
    folder, expected = shutil.copytree(tiny_run, tmp_path / "killed", symlinks=True), tiny_run / "results"
    for part in ("experiments/exp1", "folding/disjoint", "report"):
        shutil.rmtree(folder / "results" / part)
    kills = run_with_kills(tiny.command(folder), folder, expected, seed=1, kills=3, jobs=2)
    assert tuple(kill.kind for kill in kills) == KINDS
    assert differences(folder / "results", expected) == []


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_a_run_killed_ten_times_ends_with_the_same_results(tiny_run, tmp_path, seed):
    tiny.build(tmp_path)
    kills = run_with_kills(tiny.command(tmp_path), tmp_path, tiny_run / "results", seed=seed, kills=KILLS, jobs=10)
    print_kills(kills)
    assert len(kills) == KILLS
    assert differences(tmp_path / "results", tiny_run / "results") == []

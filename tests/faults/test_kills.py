"""Runs that are killed and started again have the results of an undisturbed one."""

import subprocess

import pytest
from kills import CPU, KINDS, print_kills, run_with_kills, whole_results
from tiny_run import build_folder, command, environment, needs_search_tools

pytestmark = [pytest.mark.workflow, needs_search_tools]
RUNS, KILLS, JOBS = 2, 25, 100  # of the long set; a tiny run has ten jobs more


def undisturbed(folder, *targets):
    """`whole_results` of a run in `folder`."""
    words = command(build_folder(folder), "--cores", "2", *targets)
    run = subprocess.run(words, capture_output=True, text=True, env=environment() | CPU)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return whole_results(folder)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


def killed(folder, expected, *targets, **options):
    kills = run_with_kills(command(build_folder(folder), "--cores", "2", *targets), folder, expected, **options)
    assert whole_results(folder) == expected
    assert not list((folder / "results").rglob(".*.part"))
    return kills


def test_searches_killed_three_times_end_with_the_same_alignments(tmp_path_factory):
    target = "results/alignments/summary.tsv"
    expected = undisturbed(tmp_path_factory.mktemp("undisturbed"), target)
    kills = killed(tmp_path_factory.mktemp("killed"), expected, target, seed=1, kills=3, jobs=1, pause=1.0)
    assert tuple(kill.kind for kill in kills) == KINDS


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(1, RUNS + 1))
def test_a_run_killed_again_and_again_ends_with_the_same_results(expected, tmp_path, seed):
    kills = killed(tmp_path, expected, seed=seed, kills=KILLS, jobs=JOBS)
    print_kills(kills)
    assert len(kills) == KILLS

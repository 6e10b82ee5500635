"""The embedded default, whole: with a ceiling of memory for every process, and killed three times. Long."""

import resource
import subprocess

import pandas as pd
import pytest
from kills import CPU, print_kills, run_with_kills, whole_results
from tiny_run import default_command, environment, link_inputs, needs_search_tools

pytestmark = [pytest.mark.faults, needs_search_tools]
CEILING = 4 << 30  # bytes
JOBS = 80  # in which the kills fall; a run has some more


def prepare(folder):
    """The command that runs the default in `folder`."""
    return default_command(link_inputs(folder), "--cores", "all")


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    """The folder of a run in which no process may have more memory than the ceiling, what it only reserves included."""
    folder = tmp_path_factory.mktemp("default")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (CEILING, CEILING))

    with open(folder / "run.log", "w") as log:
        run = subprocess.run(
            prepare(folder), stdout=log, stderr=subprocess.STDOUT, env=environment() | CPU, preexec_fn=limit
        )
    assert run.returncode == 0, (folder / "run.log").read_text()[-6000:]
    return folder


def test_every_step_has_enough_with_4_GiB(default_run):
    """Prints the peak of each rule's jobs, with the programs that they start, as Snakemake measures it."""
    benchmarks = default_run / "results/benchmarks"
    jobs = {path.relative_to(benchmarks): pd.read_csv(path, sep="\t") for path in benchmarks.rglob("*.tsv")}
    measured = pd.concat(jobs).groupby(lambda index: index[0].parts[0].removesuffix(".tsv"))
    peaks = measured[["max_rss", "max_vms"]].max().sort_values("max_rss", ascending=False)
    print("\n| rule | resident MB | reserved MB |\n| --- | --- | --- |")
    for rule, resident, reserved in peaks.itertuples():
        print(f"| {rule} | {resident:.0f} | {reserved:.0f} |")
    assert (peaks["max_rss"] < CEILING / 1e6).all()


def test_the_default_killed_three_times_ends_with_the_same_results(default_run, tmp_path):
    expected = whole_results(default_run)
    kills = run_with_kills(prepare(tmp_path), tmp_path, expected, seed=1, kills=3, jobs=JOBS)
    print_kills(kills)
    assert len(kills) == 3
    assert whole_results(tmp_path) == expected

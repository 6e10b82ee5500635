"""The embedded default, whole: with a ceiling of memory for every process, and killed three times. Long."""

import resource
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from kills import print_kills, run_with_kills
from same_results import differences
from tiny import ENVIRONMENT, ROOT

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        not (shutil.which("hhblits") and shutil.which("mmseqs")), reason="HH-suite or MMseqs2 is not installed"
    ),
]
CEILING = 4 << 30  # bytes
CPU = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""}


def prepare(folder):
    """The command that runs the default in `folder`."""
    for name in ("config", "resources"):
        (folder / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    return [*map(str, command), "--cores", "all"]


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    """The folder of a whole run in which no process may have more memory than the ceiling, what it only reserves
    included.
    """
    folder = tmp_path_factory.mktemp("default")
    with open(folder / "run.log", "w") as log:
        run = subprocess.run(
            prepare(folder), stdout=log, stderr=subprocess.STDOUT, env=CPU,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (CEILING, CEILING)),
        )  # fmt: skip
    assert run.returncode == 0, (folder / "run.log").read_text()[-6000:]
    return folder


def test_every_step_has_enough_with_4_GiB(default_run):
    """Prints the peak of each rule's jobs, with the programs that they start, as Snakemake measures it."""
    benchmarks = default_run / "results/benchmarks"
    peaks = {}
    for path in benchmarks.rglob("*.tsv"):
        rule = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        job = pd.read_csv(path, sep="\t").iloc[0]
        peaks[rule] = [max(pair) for pair in zip(peaks.get(rule, (0, 0)), job[["max_rss", "max_vms"]], strict=True)]
    print("\n| rule | resident MB | reserved MB |\n| --- | --- | --- |")
    for rule, (resident, reserved) in sorted(peaks.items(), key=lambda peak: -peak[1][0]):
        print(f"| {rule} | {resident:.0f} | {reserved:.0f} |")
    assert max(resident for resident, _ in peaks.values()) < CEILING / 1e6


def test_the_default_killed_three_times_ends_with_the_same_results(default_run, tmp_path):
    expected = default_run / "results"
    kills = run_with_kills(prepare(tmp_path), tmp_path, expected, seed=1, kills=3, jobs=40, environment=CPU)
    print_kills(kills)
    assert len(kills) == 3
    assert differences(tmp_path / "results", expected) == []

"""A Slurm of the tests' own (start.sh, stop.sh), and a tiny run that went through it undisturbed."""

import subprocess
from pathlib import Path

import pytest
from submitted import Submitted, rows
from tiny_run import build_folder

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory):
    """The folder of a Slurm that is up; a module may ask for accounting or two nodes by its variable CLUSTER."""
    folder = tmp_path_factory.mktemp("slurm")
    words = ["bash", HERE / "start.sh", folder, *getattr(request.module, "CLUSTER", [])]
    started = subprocess.run(words, capture_output=True, text=True, timeout=600)
    try:
        if started.returncode == 77:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        yield folder
    finally:
        subprocess.run(["bash", HERE / "stop.sh", folder], timeout=120)


@pytest.fixture
def tiny(cluster, tmp_path):
    run = Submitted(build_folder(tmp_path))
    yield run
    run.end()


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    run = Submitted(build_folder(tmp_path_factory.mktemp("undisturbed")))
    try:
        run.start().finish()
    finally:
        run.end()
    return run


def pytest_terminal_summary(terminalreporter):
    """What was measured, as a table for docs/benchmarks/slurm.md."""
    if rows:
        terminalreporter.write_line("\n| what | s | jobs | how it went |\n| --- | --- | --- | --- |")
        for row in rows:
            terminalreporter.write_line(f"| {' | '.join(row)} |")

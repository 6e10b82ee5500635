"""One run a working directory, whatever ended the last one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hardfold import takeover
from hardfold.jobs import LIBRARY

RUN = """
import pathlib, subprocess, sys, time
from hardfold.takeover import take_over
lock = take_over(pathlib.Path("."), sys.argv[1], print)
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory; Slurm's commands are those that the test writes into bin/."""
    (tmp_path / ".snakemake").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv(takeover.MARK, raising=False)
    return tmp_path


@pytest.fixture
def run(folder):
    """Another run at work in the folder, and the process id of its job."""
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY.parent)}
    other = subprocess.Popen(
        [sys.executable, "-c", RUN, "local"], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    job = int(other.stdout.readline())
    yield other, job
    other.kill()
    other.wait()


def is_alive(pid):
    try:
        return not Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].startswith(" Z")
    except FileNotFoundError:
        return False


def test_a_second_run_is_refused_with_the_name_of_the_first(folder, run):
    with pytest.raises(takeover.RunError, match=f"another run is at work in .*: process {run[0].pid} on "):
        takeover.take_over(folder, "local", print)
    assert is_alive(run[1])


def test_after_a_kill_the_next_run_starts_and_no_job_is_left(folder, run):
    other, job = run
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert is_alive(job)  # what the kill left
    with takeover.take_over(folder, "local", print):
        assert not is_alive(job)


def test_jobs_of_another_folder_are_let_be(folder, run, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".snakemake").mkdir()
    with takeover.take_over(elsewhere, "local", print):
        assert is_alive(run[1])


def put_slurm(folder, queue):
    """A squeue that prints the file `queue`, a scancel that takes jobs out of it and notes them in `cancelled`."""
    (folder / "queue").write_text(queue)
    scancel = f'#!/bin/sh\nfor id; do echo $id >> {folder}/cancelled; sed -i "/^$id|/d" {folder}/queue; done\n'
    for name, text in {"squeue": f"#!/bin/sh\ncat {folder}/queue\n", "scancel": scancel}.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)


def test_only_slurm_jobs_of_this_folders_runs_are_cancelled(folder, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    here = folder.resolve()
    put_slurm(folder, f"1|hardfold_a|{here}\n2|hardfold_a|/else|where\n3|interactive|{here}\n4_7|hardfold_b|{here}\n")
    takeover.take_over(folder, "slurm", print).close()
    assert (folder / "cancelled").read_text().split() == ["1", "4_7"]


def test_slurm_is_asked_after_a_run_that_used_it_and_not_else(folder):
    put_slurm(folder, f"1|hardfold_a|{folder.resolve()}\n")
    takeover.take_over(folder, "local", print).close()
    assert not (folder / "cancelled").exists()
    (folder / ".snakemake/run.lock").write_text("process 1 on head, jobs by slurm\n")
    takeover.take_over(folder, "local", print).close()
    assert (folder / "cancelled").read_text().split() == ["1"]


def test_slurm_jobs_that_stay_and_a_mute_slurm_stop_the_run(folder, monkeypatch):
    monkeypatch.setattr(takeover, "PATIENCE", -1)
    put_slurm(folder, f"1|hardfold_a|{folder.resolve()}\n")
    with pytest.raises(takeover.RunError, match="do not leave the queue: 1"):
        takeover.take_over(folder, "slurm", print)
    (folder / "bin/squeue").write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    with pytest.raises(takeover.RunError, match="no controller"):
        takeover.take_over(folder, "slurm", print)


def test_without_locks_there_is_a_warning_and_nothing_is_ended(folder, monkeypatch, capsys):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(takeover.fcntl, "flock", refuse)
    put_slurm(folder, f"1|hardfold_a|{folder.resolve()}\n")
    assert takeover.take_over(folder, "slurm", print) is None
    assert "no lock (Operation not supported)" in capsys.readouterr().out and not (folder / "cancelled").exists()

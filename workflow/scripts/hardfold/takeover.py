"""One run at a time in a working directory, and nothing left over from one that was killed.

Snakemake's own lock is a file, which outlives a killed Snakemake: a person must then say whether the other run is
alive. An advisory lock (flock(2)) is let go by the kernel however its process ends, so nobody has to.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

# In the environment of what a run starts on this machine; profiles/slurm*: the jobs' names begin with PREFIX.
MARK = "HARDFOLD_RUN"
PREFIX = "hardfold_"
SLURM = "slurm"
PATIENCE = 300  # seconds that a cancelled job has to leave the queue


class RunError(RuntimeError):
    """Why a run cannot start here."""


def take_over(folder: Path, executor: str, warn: Callable[[str], object]) -> TextIO | None:
    """Be the only run in the working directory `folder` until this process ends; end the jobs of one that was killed.

    executor: Snakemake's name of what this run's jobs go through. warn: is told what was ended.
    Returns the lock, to be kept; None, with a warning, where the file system has no locks.
    Raises RunError while another run is at work here, and if its cancelled jobs do not leave Slurm's queue.
    """
    folder = folder.resolve()
    lock = open(folder / ".snakemake" / "run.lock", "a+")  # noqa: SIM115 (held until the process ends)
    lock.seek(0)
    last = lock.read()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunError(f"another run is at work in {folder}: {last.strip()}") from None
    except OSError as fault:
        warn(f"{folder}: no lock ({fault.strerror}). See to it that no other run works here.")
        return None
    # A machine may have Slurm's commands and no cluster: only who used it is asked about it.
    if executor == SLURM or last.endswith(f" {SLURM}\n"):
        _end_slurm_jobs(folder, warn)
    _end_processes(f"{MARK}={folder}", warn)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {os.uname().nodename}, jobs by {executor}\n")
    lock.flush()
    os.environ[MARK] = str(folder)
    return lock


def _end_processes(mark: str, warn: Callable[[str], object]) -> None:
    while left := [pid for pid in _processes(mark) if pid != os.getpid()]:
        warn(f"ending processes of a run that was killed: {', '.join(map(str, left))}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)


def _processes(mark: str) -> list[int]:
    """Those of this machine with `mark` in their environment (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
        except OSError:  # of another user, or gone
            continue
    return found


def _end_slurm_jobs(folder: Path, warn: Callable[[str], object]) -> None:
    """Slurm goes on with the jobs of a killed Snakemake: a second copy beside them would write the same files."""
    deadline = time.monotonic() + PATIENCE
    while left := _slurm_jobs(folder):
        if time.monotonic() > deadline:
            raise RunError(f"jobs of a killed run do not leave the queue: {', '.join(left)}")
        warn(f"cancelling jobs of a run that was killed: {', '.join(left)}")
        subprocess.run(["scancel", *left], check=False)
        time.sleep(1)


def _slurm_jobs(folder: Path) -> list[str]:
    """Ids of the queued and running jobs that this folder's runs submitted."""
    words = ["squeue", "--me", "--noheader", "--format=%i|%j|%Z"]
    queue = subprocess.run(words, capture_output=True, text=True, check=False)
    if queue.returncode:
        raise RunError(f"squeue cannot tell what a killed run may have left: {queue.stderr.strip()}")
    jobs = [line.split("|", 2) for line in queue.stdout.splitlines()]
    return [id for id, name, place in jobs if name.startswith(PREFIX) and Path(place).resolve() == folder]

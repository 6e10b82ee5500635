"""SIGKILL at seeded random moments: of any process of a job, of Snakemake alone, of Snakemake and all of its jobs.

After each kill Snakemake is run again as the README says, `--unlock` first where it was killed itself, until it ends
well.
"""

import base64
import random
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from same_results import differing
from tiny import ENVIRONMENT

KINDS = ("a job", "Snakemake", "everything")  # in turn; Snakemake where no job runs
PAUSE = 5.0  # seconds


class Kill(NamedTuple):
    kind: str
    killed: str  # `snakemake`, the rule of a job's script, or the name of a program
    running: str  # the rules whose jobs ran
    finished: int  # jobs of this start that had ended


def run_with_kills(
    command: Sequence[str],
    folder: Path,
    expected: Path,
    *,
    seed: int,
    kills: int,
    jobs: int,
    environment: Mapping[str, str] = ENVIRONMENT,
) -> list[Kill]:
    """Run the command, Snakemake in `folder`, until it ends well, killed at most `kills` times on the way.

    Each kill comes when up to `jobs` jobs more have begun, and up to PAUSE seconds later. Every file of results/ that
    Snakemake then takes for whole must be as in the results `expected`.
    """
    draw, made, log = random.Random(seed), [], folder / "run.log"
    while True:
        with open(log, "w") as output:
            snakemake = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        killed = len(made) < kills and _await_moment(snakemake, log, draw, jobs)
        if killed:
            made.append(_kill(snakemake, KINDS[len(made) % len(KINDS)], draw, log))
        if snakemake.wait() == 0:
            return made
        assert killed, log.read_text()[-6000:]
        unlike = differing(folder / "results", expected, _unfinished(folder))
        assert not unlike, f"{made[-1]} left {unlike}"
        if made[-1].killed == "snakemake":
            subprocess.run([*command, "--unlock"], check=True, capture_output=True, env=environment)


def print_kills(kills: Sequence[Kill]) -> None:
    print("\n| kind | killed | running | jobs that had ended |\n| --- | --- | --- | --- |")
    for kill in kills:
        print(f"| {' | '.join(map(str, kill))} |", flush=True)


def _unfinished(folder):
    """What Snakemake will make again, below results/: outputs by whose marks their jobs have not ended."""
    marks = Path(folder, ".snakemake/incomplete").iterdir()
    return {base64.urlsafe_b64decode(mark.name).decode().removeprefix("results/") for mark in marks}


def _await_moment(snakemake, log, draw, jobs):
    """Wait for a random moment; False where Snakemake ended before."""
    begun, pause = draw.randint(0, jobs), draw.uniform(0, PAUSE)
    while snakemake.poll() is None and log.read_text().count("\nJob ") < begun:
        time.sleep(0.05)
    try:
        snakemake.wait(pause)
    except psutil.TimeoutExpired:
        return True
    return False


def _kill(snakemake, kind, draw, log):
    processes = snakemake.children(recursive=True)
    if kind == "a job" and processes:
        victims = [draw.choice(processes)]
    else:
        victims = [snakemake, *(processes if kind == "everything" else [])]
    running = ", ".join(sorted(filter(None, map(_rule, processes))))
    kill = Kill(kind, _name(victims[0]), running, log.read_text().count("\nFinished jobid"))
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:  # it ended by itself in this moment
            continue
    return kill


def _rule(process):
    """The rule whose script a process is, out of `.snakemake/scripts/tmp1234.<rule>.py` on its command line."""
    found = re.search(r"\.(\w+)\.py$", " ".join(_command_line(process)))
    return found and found[1]


def _name(process):
    words = _command_line(process)
    return "snakemake" if "snakemake" in words else _rule(process) or Path(words[0] if words else "ended").name


def _command_line(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []

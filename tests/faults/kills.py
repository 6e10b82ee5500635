"""SIGKILL at seeded random moments: of a process of a job, of Snakemake alone, of Snakemake and all that it started.

After each kill Snakemake is run again, as it is, until it ends well.
"""

import base64
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from tiny_run import environment, fingerprint

KINDS = ("a job", "Snakemake", "everything")  # in turn; Snakemake where no job runs
CPU = {"CUDA_VISIBLE_DEVICES": ""}  # results repeat bit for bit on a CPU alone


class Kill(NamedTuple):
    kind: str
    killed: str  # `snakemake`, the rule of a job's script, or the name of a program
    running: str  # the rules whose jobs ran
    ended: int  # jobs that had ended, of all starts


def run_with_kills(
    command: Sequence[str],
    folder: Path,
    expected: dict[str, str],
    *,
    seed: int,
    kills: int,
    jobs: int,
    pause: float = 5.0,
) -> list[Kill]:
    """Run the command, Snakemake in `folder`, until it ends well, killed at most `kills` times on the way: each time
    when a drawn number of its first `jobs` jobs have ended, all starts together, and up to `pause` seconds later.

    expected: `whole_results` of an undisturbed run. What Snakemake takes for whole must be as there after each kill.
    """
    draw, made, log, ended = random.Random(seed), [], folder / "run.log", 0
    moments = sorted(draw.randint(0, jobs) for _ in range(kills))
    while True:
        with open(log, "w") as output:
            snakemake = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment() | CPU)
        before = len(made)
        # Some starts outlive a kill: a search program that was killed is tried once more by its job.
        while len(made) < kills and _await_moment(snakemake, log, moments[len(made)] - ended, draw.uniform(0, pause)):
            made.append(_kill(snakemake, KINDS[len(made) % len(KINDS)], draw, ended + _ended(log)))
        if snakemake.wait() == 0:
            return made
        ended += _ended(log)
        assert len(made) > before, log.read_text()[-6000:]
        wrong = [name for name, content in whole_results(folder).items() if content != expected.get(name)]
        assert not wrong, f"{made[-1]} left {wrong}"


def whole_results(folder: Path) -> dict[str, str]:
    """`fingerprint` of the results that Snakemake takes for whole: without outputs that it marks as of jobs that did
    not end, and hidden files, which are unfinished ones.
    """
    marks = Path(folder, ".snakemake/incomplete").glob("*")  # none where Snakemake was killed at once
    left_out = {base64.urlsafe_b64decode(mark.name).decode() for mark in marks}
    with tempfile.TemporaryDirectory(dir=folder) as view:
        for path in Path(folder, "results").rglob("*"):
            name = path.relative_to(folder)
            is_hidden = any(part.startswith(".") for part in name.parts)
            if path.is_file() and not is_hidden and not {str(name), *map(str, name.parents)} & left_out:
                Path(view, name).parent.mkdir(parents=True, exist_ok=True)
                os.link(path, Path(view, name))
        return fingerprint(Path(view, "results"))


def print_kills(kills: Sequence[Kill]) -> None:
    print("\n| kind | killed | running | jobs that had ended |\n| --- | --- | --- | --- |")
    for kill in kills:
        print(f"| {' | '.join(map(str, kill))} |", flush=True)


def _await_moment(snakemake, log, ended, pause):
    """Wait until so many jobs of this start have ended, and `pause` seconds; False where Snakemake ended before."""
    while snakemake.poll() is None and _ended(log) < ended:
        time.sleep(0.05)
    try:
        snakemake.wait(pause)
    except psutil.TimeoutExpired:
        return True
    return False


def _kill(snakemake, kind, draw, ended):
    processes = snakemake.children(recursive=True)
    if kind == "a job" and processes:
        victims = [draw.choice(processes)]
    else:
        victims = [snakemake, *(processes if kind == "everything" else [])]
    running = ", ".join(sorted(filter(None, map(_rule, processes))))
    kill = Kill(kind, _name(victims[0]), running, ended)
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:  # it ended by itself in this moment
            continue
    return kill


def _ended(log):
    return log.read_text().count("\nFinished jobid")


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

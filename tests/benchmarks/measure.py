"""What the benchmarks share: seconds of processor time, peak memory of a child process, tables in Markdown, and runs of
made-up chains."""

import json
import os
import string
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def cpu_seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """Processor time of a call, the best of `repeats`: what others run beside it counts little."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


# A child starts with the memory of the process that it is forked from: a small one stands between.
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.monotonic()
output = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True, check=True).stdout
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(json.dumps({"seconds": time.monotonic() - start, "cpu": cpu, "peak_mb": peak, "output": output}))
"""


def run_child(*command) -> dict:
    """Run a command to its end: seconds (of wall clock), cpu (seconds of the processor), peak_mb, output (what it
    printed). Raises where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    launch = [sys.executable, "-c", _LAUNCHER, *map(str, command)]
    return json.loads(subprocess.run(launch, env=environment, stdout=subprocess.PIPE, check=True).stdout)


def run_python(code: str, *arguments) -> dict:
    """`run_child` of a few lines of Python."""
    return run_child(sys.executable, "-c", code, *arguments)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence]) -> None:
    lines = [header, ["---"] * len(header), *rows]
    print(f"\n{title}\n\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def made_up_ids(count):
    """Chain ids of entries that are not among the embedded ones: their chains have two letters."""
    letters = string.digits + string.ascii_lowercase
    for number in range(count):
        first, rest = number % 9 + 1, number // 9
        yield f"{first}{letters[rest % 36]}{letters[rest // 36 % 36]}{letters[rest // 36**2]}_ZZ"


def made_up_run(folder: Path, count: int, own: dict) -> Path:
    """Make `folder` the working directory of a run of `count` made-up chains and an empty mirror, enough to lay out its
    jobs: the embedded configuration, and over it the file returned, with `own`."""
    for name in ("config", "resources"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    (folder / "mirror").mkdir(exist_ok=True)
    (folder / "chains.tsv").write_text("chain\n" + "".join(f"{id}\n" for id in made_up_ids(count)))
    inputs = {"chains": "chains.tsv", "mirror": "mirror"} | own.get("inputs", {})
    (folder / "own.yaml").write_text(yaml.safe_dump(own | {"inputs": inputs}))
    return folder / "own.yaml"

"""What the workflow needs to lay out jobs: shards, library hashes, resources, logs. Imports no torch, no pandas."""

import csv
import fcntl
import functools
import hashlib
import itertools
import logging
import math
import os
import re
import sys
import time
import traceback
from pathlib import Path

# Provider of alignments: what its search database consists of, behind the prefix.
DATABASE_FILES = {
    "hhblits": tuple(f"_{kind}.{suffix}" for kind in ("a3m", "hhm", "cs219") for suffix in ("ffdata", "ffindex")),
    "mmseqs2": ("", ".dbtype", ".index", "_h", "_h.dbtype", "_h.index"),
    "jackhmmer": ("",),  # a FASTA file
    "given": (),
}
FOLDER = 100  # shards: file systems and people dislike thousands of files in one
LIBRARY = Path(__file__).parent
_IMPORT = re.compile(rf"^[ \t]*from {LIBRARY.name}((?:\.\w+)*) import (\([^)]*\)|[^#\n]*)", re.MULTILINE)
_CLAIMS = []  # locks of this process's GPUs


def shards(ids: list[str], size: int, prefix: str) -> dict[str, list[str]]:
    """Shard name -> ids, in order, `size` a shard. A name is a path of two parts, FOLDER names share the first."""
    starts = dict(enumerate(range(0, len(ids), size)))
    return {f"{prefix}{n // FOLDER:02d}/{prefix}{n:04d}": ids[start : start + size] for n, start in starts.items()}


def library_hashes(*modules: str) -> dict[str, str]:
    """Module -> first 12 digits of the sha256 of its source: a job reruns when the code that it rests on changes.

    The modules named (a room stands for all of its own) and every module of the library that they import, themselves
    or through others, but this one, which decides no result.
    """
    waiting, found = [file for module in modules for file in _files(LIBRARY, module)], {}
    while waiting:
        file = waiting.pop()
        name = ".".join(file.relative_to(LIBRARY).with_suffix("").parts)
        if name not in found and name != "jobs":
            found[name], imported = _scan(file, file.stat().st_mtime_ns)
            waiting += [file for module in imported for file in _files(LIBRARY, module)]
    return dict(sorted(found.items()))


@functools.cache
def _files(library: Path, module: str) -> list[Path]:
    path = library / module.replace(".", "/")
    if path.is_dir():
        return sorted(path.rglob("*.py"))
    return [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else []


@functools.cache
def _scan(file: Path, changed: int) -> tuple[str, list[str]]:
    """The hash of a source, and what it imports of the library: `a.b` of `from hardfold.a.b import c`, a of `from
    hardfold import a`; of `from hardfold.a import b` `a.b` where that is a module. By pattern, as each job of a
    cluster reads the Snakefile: Python's parser would take 0.25 s.
    """
    source = file.read_bytes()
    names = []
    for below, listed in _IMPORT.findall(source.decode()):
        inside, room = re.findall(r"(\w+)(?: as \w+)?", listed), LIBRARY / below[1:].replace(".", "/")
        if below and room.is_dir():
            names += [f"{below[1:]}.{name}" if (room / f"{name}.py").is_file() else below[1:] for name in inside]
        else:
            names += [below[1:]] if below else inside
    return hashlib.sha256(source).hexdigest()[:12], names


def memory(base_mb: int):
    """Resource function: `base_mb` on the first attempt, doubled on each retry."""
    return lambda wildcards, attempt: base_mb * 2 ** (attempt - 1)


def runtime(base_minutes: int, each: float = 0, of=lambda wildcards: ()):
    """Resource function: minutes, and `each` for every thing that `of(wildcards)` holds; doubled on each retry."""
    return lambda wildcards, attempt: math.ceil(base_minutes + each * len(of(wildcards))) * 2 ** (attempt - 1)


def gpu_slots(devices: str = "/dev") -> int:
    """How many jobs that ask for a GPU run at once on this machine: one on each GPU, one a core where it has none.

    Those that CUDA_VISIBLE_DEVICES names, where it is set, belong to one job at a time.
    """
    found = gpus(devices)
    return (min(1, found) if "CUDA_VISIBLE_DEVICES" in os.environ else found) or os.cpu_count()


def claim_gpus(count: int, devices: str = "/dev", folder: str = ".snakemake") -> None:
    """Keep this process to `count` GPUs that no other job of this run has, until it ends; call it before torch looks.

    Does nothing where there are no two to choose from, and where CUDA_VISIBLE_DEVICES is set: a cluster has chosen.
    """
    count_here = gpus(devices)
    if count_here < 2 or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    claimed = []
    # A slot is held by a lock. With --resources gpu=N beyond the GPUs there are, the slots go round.
    for slot in itertools.count():
        handle = open(Path(folder, f"gpu{slot}.lock"), "a")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            continue
        _CLAIMS.append(handle)
        claimed.append(str(slot % count_here))
        if len(claimed) == count:
            break
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claimed)


def gpus(devices: str = "/dev") -> int:
    """How many GPUs this machine has; of CUDA_VISIBLE_DEVICES, where it is set, the names before an empty one or -1."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return len(list(Path(devices).glob("nvidia[0-9]*")))
    return len(list(itertools.takewhile(lambda name: name.strip() not in ("", "-1"), chosen.split(","))))


def quality_note(path: str) -> str:
    """What the quality control did, in one line out of its table; empty before there is one."""
    if not Path(path).is_file():
        return ""
    with open(path, encoding="utf-8", newline="") as handle:
        status = [row["status"] for row in csv.DictReader(handle, delimiter="\t")]
    return f"chains and targets: {status.count('kept')} kept, {status.count('dropped')} dropped, with reasons in {path}"


def start_log(path: str) -> None:
    """Send this process's output, logging and uncaught tracebacks to the job's log file."""
    terminal = sys.stderr
    sys.stdout = sys.stderr = open(path, "w", buffering=1)  # noqa: SIM115 (open until the process ends)
    log_to_stderr()

    def report(*fault):
        try:
            sys.stderr.writelines(traceback.format_exception(*fault))
        except OSError:  # the log's disk is full
            traceback.print_exception(*fault, file=terminal)

    sys.excepthook = report


def log_to_stderr() -> None:
    """Log in the form of a job's log."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.captureWarnings(True)


def progress(items, total: int, what: str, every: float = 10.0):
    """Yield from `items`, logging how far along they are and an estimate of the time left, every few seconds."""
    start = last = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= every:
            last = now
            left = (now - start) / done * (total - done)
            logging.info("%s: %d of %d, about %.0f s left", what, done, total, left)
        yield item
    logging.info("%s: %d of %d in %.1f s", what, total, total, time.monotonic() - start)

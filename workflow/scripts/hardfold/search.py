"""HH-suite: a database built from a FASTA pool, and hhblits run for each chain, with a cache keyed by content."""

import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardfold import tables
from hardfold.alignment import Alignment, AlignmentError, neff, read_a3m, write_a3m
from hardfold.jobs import DATABASE_FILES, progress
from hardfold.structure import load_chains

COLUMNS = ["chain", "tool", "database", "rows", "neff", "status", "reason", "seconds", "cached"]
# The guide's choice for realignment, and a prefilter that hardly cuts hits off in a deep database.
FIXED_OPTIONS = ("-mact", 0.35, "-maxfilt", 100000)

# Debian keeps a build for each instruction set, the best first (HH-suite in this folder): its wrapper on the PATH hides
# signals, and its link for cstranslate is broken.
_DEBIAN_FOLDER = "/usr/libexec/hhsuite"
_BUILDS = {"avx2": "avx2", "avx": "avx", "sse4.1": "sse4_1", "ssse3": "ssse3", "sse3": "pni"}  # suffix: CPU flag


class ToolError(RuntimeError):
    """An external program that is missing or failed; the message carries its own words."""


class DatabaseError(ValueError):
    """A search database or pool that cannot be used; the message names what is missing."""


def find_tool(name: str) -> str:
    """The program on the PATH; where that is Debian's wrapper or nothing, Debian's build for this CPU."""
    found = shutil.which(name)
    if found and Path(found).resolve().name != "simd-dispatch":
        return found
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    for suffix in [*(suffix for suffix, flag in _BUILDS.items() if flag in flags), "plain"]:
        if build := shutil.which(f"{name}-{suffix}", path=f"{os.environ['PATH']}{os.pathsep}{_DEBIAN_FOLDER}"):
            return build
    raise ToolError(f"{name} is not installed: HH-suite (hhsuite) and MMseqs2 (mmseqs2) are needed, see README.md")


def run_tool(name: str, *arguments, **environment) -> None:
    """Run a program; raises ToolError with the end of its own output, or with advice where a signal ended it."""
    command = [find_tool(name), *map(str, arguments)]
    logging.debug("%s", " ".join(command))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", env={**os.environ, **environment}
    )
    if done.returncode == 0:
        return
    # A shell in between reports a signal as 128 + its number.
    number = -done.returncode if done.returncode < 0 else done.returncode - 128
    if number in set(signal.Signals):
        raise ToolError(
            f"{name} was ended by signal {number} ({signal.strsignal(number)}): mostly a wrong or incomplete database, "
            "a build for another CPU, or too little memory"
        )
    raise ToolError(f"{name} failed with exit status {done.returncode}: {_last_lines(done.stdout)}")


def write_fasta(path: Path, sequences: Mapping[str, str]) -> None:
    """Write id -> sequence, sorted by id: what is built from the file depends on its content alone."""
    Path(path).write_text("".join(f">{id}\n{sequence}\n" for id, sequence in sorted(sequences.items())))


def _last_lines(output, count=5):
    return " | ".join([line.strip() for line in output.splitlines() if line.strip()][-count:]) or "it said nothing"


# The database


def check_database(prefix: str) -> None:
    """Raise DatabaseError unless all six files of the HH-suite database `prefix` are there and not empty."""
    faults = []
    for ending in DATABASE_FILES:
        file = Path(f"{prefix}{ending}")
        if not file.is_file():
            faults.append(f"{file} is missing")
        elif not file.stat().st_size:
            faults.append(f"{file} is empty")
    if faults:
        raise DatabaseError(
            f"the HH-suite database {prefix} (alignments.database) is not complete: {', '.join(faults)}"
        )


def database_identity(prefix: str) -> str:
    """sha256 over the three indices and the sizes of the six files: a changed database is another one."""
    digest = hashlib.sha256()
    for file in (Path(f"{prefix}{ending}") for ending in DATABASE_FILES):
        digest.update(b"%d\n" % file.stat().st_size)
        if file.suffix == ".ffindex":
            with open(file, "rb") as handle:
                digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


def build_database(pool: Path, folder: Path, threads: int, name: str = "pool") -> None:
    """Build the HH-suite database `folder`/`name` from a FASTA file (`.gz` too).

    The recipe of HH-suite's guide for custom databases: clusters at 30 % identity over 80 % of both sequences, their
    alignments, cs219 states and HMMs, all ordered by length. The files replace older ones once all six are complete.
    Raises DatabaseError and ToolError.
    """
    folder = Path(folder)
    work = folder / ".building"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        _build(Path(pool), work / name, work, threads)
        check_database(work / name)
        for ending in DATABASE_FILES:
            os.replace(f"{work / name}{ending}", f"{folder / name}{ending}")
    finally:
        shutil.rmtree(work)


def _build(pool, prefix, work, threads):
    if not pool.is_file():
        raise DatabaseError(f"alignments.pool: {pool} is missing")
    mmseqs = ["--threads", threads, "-v", 1]
    logging.info("clustering %s", pool)
    run_tool("mmseqs", "createdb", pool, work / "sequences", "-v", 1)
    run_tool(
        *["mmseqs", "cluster", work / "sequences", work / "clusters", work / "tmp"],
        *["--min-seq-id", 0.3, "-c", 0.8, "--cov-mode", 0, "--cluster-reassign", 1, *mmseqs],
    )
    run_tool(
        *["mmseqs", "result2msa", work / "sequences", work / "sequences", work / "clusters", work / "raw_a3m.ffdata"],
        *["--msa-format-mode", 6, *mmseqs],
    )
    a3m = _read_index(work / "raw_a3m.ffdata.index")
    _write_index(work / "raw_a3m.ffindex", a3m)
    logging.info("cs219 states of %d clusters", len(a3m))
    run_tool(
        *["cstranslate", "-f", "-x", 0.3, "-c", 4, "-b", "-I", "a3m", "-i", work / "raw_a3m", "-o", work / "raw_cs219"],
        OMP_NUM_THREADS=str(threads),
    )
    cs219 = _read_index(work / "raw_cs219.ffindex")
    logging.info("HMMs of %d clusters", len(a3m))
    parts = range(min(threads, len(a3m)))
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(lambda part: _make_hmms(work, a3m, part, len(parts)), parts))

    order = sorted(a3m, key=lambda key: (-cs219[key][1], key))
    _write_ordered(f"{prefix}_a3m", order, [(work / "raw_a3m.ffdata", a3m)])
    _write_ordered(f"{prefix}_cs219", order, [(work / "raw_cs219.ffdata", cs219)])
    hmms = [(work / f"raw_hhm{part}.ffdata", _read_index(work / f"raw_hhm{part}.ffindex")) for part in parts]
    _write_ordered(f"{prefix}_hhm", order, hmms, drop=re.compile(rb"^(?:DATE|COM) .*\n", re.MULTILINE))


def _make_hmms(work, a3m, part, parts):
    """ffindex_apply has no threads without MPI: each part of the index is a process of its own."""
    keys = sorted(a3m)[part::parts]
    index = work / f"part{part}.ffindex"
    _write_index(index, {key: a3m[key] for key in keys})
    run_tool(
        *["ffindex_apply", "-q", "-d", work / f"raw_hhm{part}.ffdata", "-i", work / f"raw_hhm{part}.ffindex"],
        *[work / "raw_a3m.ffdata", index, "--", find_tool("hhmake"), "-v", 0, "-i", "stdin", "-o", "stdout"],
    )


def _read_index(path):
    """Key -> (offset, length) of an ffindex."""
    fields = (line.split("\t") for line in Path(path).read_text().splitlines())
    return {key: (int(offset), int(length)) for key, offset, length in fields}


def _write_index(path, entries):
    """Sorted by bytes, as HH-suite's binary search wants it."""
    Path(path).write_text("".join(f"{key}\t{offset}\t{length}\n" for key, (offset, length) in sorted(entries.items())))


def _write_ordered(prefix, order, sources, drop=None):
    """Join the entries of `sources` (data file, index) in this order, without what matches `drop`."""
    place = {key: (data, *entry) for data, index in sources for key, entry in index.items()}
    if lost := [key for key in order if place.get(key, (None, 0, 0))[2] <= 1]:
        raise DatabaseError(f"{Path(prefix).name}: nothing was made of {len(lost)} of {len(order)} clusters")
    entries, offset = {}, 0
    with ExitStack() as stack:
        handles = {data: stack.enter_context(open(data, "rb")) for data, _ in sources}
        output = stack.enter_context(open(f"{prefix}.ffdata", "wb"))
        for key in order:
            data, start, length = place[key]
            handles[data].seek(start)
            entry = handles[data].read(length)
            length = output.write(drop.sub(b"", entry) if drop else entry)
            entries[key] = (offset, length)
            offset += length
    _write_index(f"{prefix}.ffindex", entries)


# The search


@dataclass(frozen=True)
class Search:
    """hhblits against one database, with the cache of what it found before."""

    database: str  # prefix of the six files
    identity: str
    options: tuple
    cache: Path

    @property
    def name(self) -> str:
        """The database's name and the start of its identity: the same on every machine."""
        return f"{Path(self.database).name}:{self.identity[:12]}"

    def find(self, sequence: str) -> tuple[Path, Alignment, bool]:
        """The a3m file in the cache, what it holds and whether it lay there. Raises ToolError and AlignmentError."""
        key = hashlib.sha256(json.dumps([sequence, self.identity, self.options]).encode()).hexdigest()
        path = self.cache / key[:2] / f"{key}.a3m"
        with suppress(FileNotFoundError, AlignmentError):  # a damaged file is made anew
            return path, read_a3m(path, sequence), True
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".search-", dir=path.parent) as work:
            query, found = Path(work, "query.fasta"), Path(work, "query.a3m")
            query.write_text(f">query\n{sequence}\n")
            run_tool("hhblits", "-cpu", 1, "-v", 1, "-i", query, "-d", self.database, "-oa3m", found, *self.options)
            alignment = read_a3m(found, sequence)
            os.replace(found, path)
        return path, alignment, False


def search_shard(
    chains: Path,
    folder: Path,
    table: Path,
    *,
    database: str,
    given: str,
    cache: str,
    iterations: int,
    evalue: float,
    min_coverage: float,
    threads: int,
) -> None:
    """Write `folder`/<id>.a3m for each chain of a structures file, and `table` with a row a chain (COLUMNS).

    An alignment is taken from the folder `given` (<id>.a3m, whatever made it) if its query is the chain's sequence,
    else from the cache, else from hhblits, `threads` chains at a time. A search that fails leaves the query alone as
    alignment, status `failed` and the reason; the others go on. An incomplete database (DatabaseError) or a missing
    hhblits (ToolError) stops all.
    """
    check_database(database)
    find_tool("hhblits")
    options = ("-n", iterations, "-e", evalue, "-cov", round(100 * min_coverage), *FIXED_OPTIONS)
    search = Search(database, database_identity(database), options, Path(cache))
    records = load_chains(chains)
    with ThreadPoolExecutor(threads) as executor:
        rows = executor.map(
            lambda chain: _align(chain.id, chain.sequence, Path(folder, f"{chain.id}.a3m"), given, search),
            records.values(),
        )
        tables.write(table, list(progress(rows, len(records), "alignments")), COLUMNS)


def _align(chain, sequence, path, given, search):
    """Write the chain's alignment to `path`; its row of the table."""
    start = time.monotonic()
    row = {"chain": chain, "tool": "hhblits", "database": search.name, "status": "ok", "cached": False}
    reasons = []
    try:
        found = _given(Path(given, path.name), sequence) if given else None
    except AlignmentError as fault:
        found = None
        reasons.append(f"given alignment refused, searched instead: {fault}")
    try:
        if found:
            row |= {"tool": "given", "database": ""}
            source, alignment = found
        else:
            source, alignment, row["cached"] = search.find(sequence)
            if len(alignment.rows) == 1:
                row["status"] = "no_hits"
                reasons.append("no homologue in the database")
        with tables.whole_file(path) as temporary:
            shutil.copyfile(source, temporary)
    except (ToolError, AlignmentError) as fault:
        check_database(search.database)  # without its database no search can go on
        logging.warning("%s: %s", chain, fault)
        row |= {"tool": "none", "status": "failed"}
        reasons.append(str(fault))
        alignment = Alignment(("query",), np.frombuffer(sequence.encode(), np.uint8)[None])
        write_a3m(path, alignment)
    row |= {"reason": "; ".join(reasons), "rows": len(alignment.rows), "neff": neff(alignment.rows)}
    return row | {"seconds": round(time.monotonic() - start, 3)}


def _given(path, sequence):
    return (path, read_a3m(path, sequence)) if path.exists() else None

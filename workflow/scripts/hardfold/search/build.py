"""Search databases built from a FASTA pool."""

import logging
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from hardfold import mmseqs
from hardfold.jobs import DATABASE_FILES
from hardfold.search.database import DatabaseError, check_database
from hardfold.search.pool import clean_pool
from hardfold.tools import find_tool, run_tool


def build_database(provider: str, pool: Path, prefix: Path, threads: int) -> None:
    """Build the provider's database `prefix` from a FASTA file (gzipped, too), cleaned by `clean_pool`.

    The files replace older ones once all are complete. Raises DatabaseError and ToolError.
    """
    prefix = Path(prefix)
    work = prefix.with_name(".building")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        clean_pool(Path(pool), work / "clean.fasta")
        _BUILDERS[provider](work / "clean.fasta", work / prefix.name, threads)
        check_database(provider, work / prefix.name)
        for ending in DATABASE_FILES[provider]:
            os.replace(f"{work / prefix.name}{ending}", f"{prefix}{ending}")
    finally:
        shutil.rmtree(work)


def _build_fasta(pool, prefix, threads):
    os.replace(pool, prefix)


def _build_mmseqs(pool, prefix, threads):
    mmseqs.create_padded(pool, prefix)


def _build_hhsuite(pool, prefix, threads):
    """The recipe of HH-suite's guide for custom databases: clusters at 30 % identity over 80 % of both sequences, their
    alignments, cs219 states and HMMs, all ordered by length.
    """
    work = prefix.parent
    options = ["--threads", threads, "-v", 1]
    logging.info("clustering")
    mmseqs.create_database(pool, work / "sequences")
    run_tool(
        *["mmseqs", "cluster", work / "sequences", work / "clusters", work / "tmp"],
        *["--min-seq-id", 0.3, "-c", 0.8, "--cov-mode", 0, "--cluster-reassign", 1, *options],
    )
    run_tool(
        *["mmseqs", "result2msa", work / "sequences", work / "sequences", work / "clusters", work / "raw_a3m.ffdata"],
        *["--msa-format-mode", 6, *options],
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


_BUILDERS = {"hhblits": _build_hhsuite, "mmseqs2": _build_mmseqs, "jackhmmer": _build_fasta}


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

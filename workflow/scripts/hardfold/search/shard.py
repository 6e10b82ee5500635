"""An alignment for each chain of a shard: given, cached or searched with hhblits."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardfold import tables
from hardfold.alignment import Alignment, AlignmentError, neff, read_a3m, write_a3m
from hardfold.jobs import progress
from hardfold.search.database import check_database, database_identity
from hardfold.structure.chain import load_chains
from hardfold.tools import ToolError, find_tool, run_tool

COLUMNS = ["chain", "tool", "database", "rows", "neff", "status", "reason", "seconds", "cached"]
# The guide's choice for realignment, and a prefilter that hardly cuts hits off in a deep database.
FIXED_OPTIONS = ("-mact", 0.35, "-maxfilt", 100000)


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

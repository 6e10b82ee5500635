"""An alignment for each chain of a shard: given, cached or searched."""

import logging
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hardfold import tables
from hardfold.alignment import Alignment, AlignmentError, neff, read_a3m, single_row, write_a3m
from hardfold.jobs import progress
from hardfold.search.cache import Cache
from hardfold.search.given import read_given
from hardfold.search.hhblits import HHblits
from hardfold.search.jackhmmer import Jackhmmer
from hardfold.search.mmseqs2 import MMseqs2
from hardfold.search.provider import Found, Provider
from hardfold.structure.chain import read_sequences

COLUMNS = ["chain", "tool", "database", "rows", "neff", "status", "reason", "seconds", "cached"]
PROVIDERS = {provider.name: provider for provider in (HHblits, MMseqs2, Jackhmmer)}


def search_shard(
    chains: Path,
    folder: Path,
    table: Path,
    *,
    provider: str,
    database: str,
    given: str,
    cache: str,
    iterations: int,
    evalue: float,
    min_coverage: float,
    threads: int,
) -> None:
    """Write `folder`/<id>.a3m for each chain of a structures file, and `table` with a row a chain (COLUMNS).

    An alignment is taken from the folder `given` (see `read_given`) if its query is the chain's sequence, else from the
    cache, else from the provider, which is asked once for a sequence; the provider `given` has no more to offer. A
    chain that gets none has its sequence as the only row, status `failed` and the reason; the others go on. Raises
    DatabaseError and ToolError where no search can succeed.
    """
    sequences = {id: sequence for id, (sequence, _) in read_sequences(chains).items()}
    paths = {id: Path(folder, f"{id}.a3m") for id in sequences}
    Path(folder).mkdir(parents=True, exist_ok=True)  # also for a shard without chains
    search = None
    if provider != "given":
        search = PROVIDERS[provider](database, iterations=iterations, evalue=evalue, min_coverage=min_coverage)
    with ThreadPoolExecutor(threads) as executor:
        taken = executor.map(lambda id: _take_given(given, id, sequences[id], paths[id]), sequences)
        taken = dict(zip(sequences, taken, strict=True))
        reasons = {id: reason for id, reason in taken.items() if isinstance(reason, str)}
        owners = {sequences[id]: id for id in reversed(reasons)}  # of chains with one sequence the first is searched
        found = _search(list(owners)[::-1], search, cache, executor, threads)

        def finish(id):
            outcome = found[sequences[id]]
            is_cached = not outcome.fault and (outcome.seconds is None or owners[sequences[id]] != id)
            return _take_found(id, outcome, search, reasons[id], paths[id]) | {"cached": is_cached}

        rows = [row for id, row in taken.items() if id not in reasons]
        rows += progress(executor.map(finish, reasons), len(reasons), "alignments")
    for row in rows:
        if row["status"] == "failed" or "refused" in row["reason"]:
            logging.warning("%s: %s", row["chain"], row["reason"])
    tables.write(table, rows, COLUMNS)


def _take_given(folder: str, id: str, sequence: str, path: Path) -> dict | str:
    """The row of a chain whose given alignment now lies at `path`; else why there is none."""
    start = time.monotonic()
    try:
        alignment = read_given(Path(folder), id, sequence) if folder else None
    except AlignmentError as fault:
        return f"given alignment refused: {fault}"
    if alignment is None:
        return ""
    write_a3m(path, alignment)
    row = {"tool": "given", "database": "", "cached": False}
    return _row(id, alignment) | row | {"seconds": round(time.monotonic() - start, 3)}


def _search(
    sequences: list[str], search: Provider | None, cache: str, executor: ThreadPoolExecutor, threads: int
) -> dict[str, Found]:
    """Sequence -> its alignment in the cache, `seconds` None where it lay there already, or the fault."""
    if search is None:
        return {sequence: Found(sequence, None, "no alignment is given", 0.0) for sequence in sequences}
    store = Cache(Path(cache), search)
    cached = dict(zip(sequences, executor.map(store.holds, sequences), strict=True))
    found = {sequence: Found(sequence, store.path(sequence), "", None) for sequence in sequences}
    missing = [sequence for sequence in sequences if not cached[sequence]]
    if missing:
        with tempfile.TemporaryDirectory() as work:
            outcomes = search.search(missing, Path(work), threads)
            for outcome in progress(outcomes, len(missing), f"searches with {search.name}"):
                found[outcome.sequence] = _keep(outcome, store)
    return found


def _keep(outcome, store):
    """The outcome, its alignment now in the cache; of a failed search or a faulty alignment nothing is kept."""
    if outcome.path:
        try:
            store.put(outcome.sequence, outcome.path)
            return outcome._replace(path=store.path(outcome.sequence))
        except (AlignmentError, FileNotFoundError) as fault:
            outcome = outcome._replace(path=None, fault=str(fault))
    logging.warning("%s...: %s", outcome.sequence[:20], outcome.fault)
    return outcome


def _take_found(id: str, outcome: Found, search: Provider | None, reason: str, path: Path) -> dict:
    """Write the outcome's alignment, or the sequence alone, to `path`; the chain's row."""
    start = time.monotonic()
    row = {"tool": search.name, "database": search.label} if search else {"tool": "none", "database": ""}
    if outcome.fault:
        alignment = single_row(outcome.sequence)
        write_a3m(path, alignment)
        row |= {"tool": "none", "status": "failed"}
    else:
        alignment = read_a3m(outcome.path, outcome.sequence)
        with tables.whole_file(path) as temporary:
            shutil.copyfile(outcome.path, temporary)
    row = _row(id, alignment) | row
    row["reason"] = "; ".join(filter(None, [reason, outcome.fault or row["reason"]]))
    seconds = time.monotonic() - start if outcome.seconds is None else outcome.seconds
    return row | {"seconds": round(seconds, 3)}


def _row(id: str, alignment: Alignment) -> dict:
    is_alone = len(alignment.rows) == 1
    return {
        "chain": id,
        "rows": len(alignment.rows),
        "neff": neff(alignment.rows),
        "status": "no_hits" if is_alone else "ok",
        "reason": "no homologue" if is_alone else "",
    }

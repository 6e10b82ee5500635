"""MMseqs2: sequence clusters, pairs of alike sequences, alignments of queries to a pool.

Every place that asks how near two sequences are asks here, so that coverage and identity mean one thing.
"""

import csv
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from hardfold.tools import ToolError, run_tool, write_fasta

# Column: the field of MMseqs2 that it holds.
_FIELDS = {
    "query": "query",
    "subject": "target",
    "identity": "fident",
    "evalue": "evalue",
    "query_coverage": "qcov",
    "subject_coverage": "tcov",
    "query_length": "qlen",
    "subject_length": "tlen",
    "subject_start": "tstart",
    "subject_end": "tend",
}


def cluster(
    sequences: Mapping[str, str],
    *options,
    identity: float,
    coverage: float,
    threads: int,
    program: str = "easy-cluster",
) -> pd.Series:
    """Id -> the representative of its cluster (`mmseqs easy-cluster`, or the faster, blunter `easy-linclust`);
    `coverage` of both sequences.

    Equal sequences, which MMseqs2 may part where their complexity is low, are always of one cluster.
    """
    sequences = pd.Series(sequences)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_fasta(work / "all.fasta", sequences.drop_duplicates())
        run_tool(
            *["mmseqs", program, work / "all.fasta", work / "clusters", work / "tmp", "--min-seq-id", identity],
            *["-c", coverage, "--cov-mode", 0, "--threads", threads, "-v", 1, *options],
        )
        with open(work / "clusters_cluster.tsv") as handle:
            members = {member: representative for representative, member in csv.reader(handle, delimiter="\t")}
    return sequences.map({sequences[member]: representative for member, representative in members.items()})


def search(
    queries: Mapping[str, str], subjects: Mapping[str, str], *options, threads: int, sensitivity: float = 7.5
) -> pd.DataFrame:
    """The local alignments of `mmseqs easy-search` with these further options, sorted by query, subject and e-value.

    One a pair, the best by score, unless `--alt-ali` asks for more. Columns: query, subject, identity (of the aligned
    columns), coverage (the aligned share of the shorter sequence), evalue; query_coverage, subject_coverage,
    query_length, subject_length, subject_start, subject_end (from 1, both included). Shares are fractions.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_fasta(work / "queries.fasta", queries)
        write_fasta(work / "subjects.fasta", subjects)
        run_tool(
            *["mmseqs", "easy-search", work / "queries.fasta", work / "subjects.fasta", work / "hits.tsv"],
            *[work / "tmp", "-s", sensitivity, "--threads", threads, "-v", 1, *options],
            *["--format-output", ",".join(_FIELDS.values())],
        )
        # An id may read NA.
        text = {"dtype": {"query": str, "subject": str}, "keep_default_na": False}
        hits = pd.read_csv(work / "hits.tsv", sep="\t", names=list(_FIELDS), **text)
    shorter = hits["query_length"] <= hits["subject_length"]
    hits["coverage"] = hits["query_coverage"].where(shorter, hits["subject_coverage"])
    return hits.sort_values(["query", "subject", "evalue"], ignore_index=True)


def create_database(fasta: Path, database: Path) -> None:
    """Make a FASTA file of proteins an MMseqs2 database."""
    run_tool("mmseqs", "createdb", fasta, database, "--dbtype", 1, "-v", 1)


def create_padded(fasta: Path, database: Path) -> None:
    """The same in the layout that GPUs want and CPUs read, too, where this MMseqs2 knows it (from release 16 on)."""
    if not _runs("makepaddedseqdb", "-h"):
        create_database(fasta, database)
        return
    create_database(fasta, f"{database}.plain")
    run_tool("mmseqs", "makepaddedseqdb", f"{database}.plain", database, "-v", 1)


def is_padded(database: str) -> bool:
    """Whether the MMseqs2 database has the layout for GPUs: a flag in its type."""
    return bool(int.from_bytes(Path(f"{database}.dbtype").read_bytes(), "little") >> 16 & 8)


def gpu_works() -> bool:
    """Whether this MMseqs2 is built for GPUs and finds one: tried out on a search of one sequence against itself."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_fasta(work / "one.fasta", {"one": "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ"})
        create_database(work / "one.fasta", work / "query")
        create_padded(work / "one.fasta", work / "pool")
        return _runs("search", work / "query", work / "pool", work / "hits", work / "tmp", "--gpu", 1)


def _runs(*arguments):
    try:
        run_tool("mmseqs", *arguments)
    except ToolError as fault:
        logging.debug("%s", fault)
        return False
    return True


def align(queries: Mapping[str, str], pool: Path, work: Path, *options, threads: int) -> Iterator[tuple[str, Path]]:
    """(id, a3m file in `work`) of each query aligned to the FASTA file or MMseqs2 database `pool`."""
    write_fasta(work / "queries.fasta", queries)
    create_database(work / "queries.fasta", work / "queries")
    if not Path(f"{pool}.dbtype").exists():
        create_database(pool, work / "pool")
        pool = work / "pool"
    found = [work / "queries", pool, work / "hits"]
    run_tool("mmseqs", "search", *found, work / "tmp", "-a", "--threads", threads, "-v", 1, *options)
    run_tool("mmseqs", "result2msa", *found, work / "msa", "--msa-format-mode", 6, "--threads", threads, "-v", 1)
    unpacked = ["--unpack-name-mode", 0, "--unpack-suffix", ".a3m", "-v", 1]
    run_tool("mmseqs", "unpackdb", work / "msa", work / "a3m", *unpacked)
    with open(work / "queries.lookup") as lookup:
        keys = {name: key for key, name, *_ in csv.reader(lookup, delimiter="\t")}
    for name in queries:
        yield name, work / "a3m" / f"{keys[name]}.a3m"

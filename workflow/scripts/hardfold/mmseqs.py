"""MMseqs2: sequence clusters, pairs of alike sequences, alignments of queries to a pool.

Every place that asks how near two sequences are asks here, so that coverage and identity mean one thing.
"""

import csv
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from hardfold.tools import run_tool, write_fasta

HIT_COLUMNS = ["query", "subject", "identity", "coverage", "evalue"]


def cluster(sequences: Mapping[str, str], *, identity: float, coverage: float, threads: int) -> pd.Series:
    """Id -> the representative of its cluster; `coverage` of both sequences (mode 0)."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_fasta(work / "all.fasta", sequences)
        run_tool(
            *["mmseqs", "easy-cluster", work / "all.fasta", work / "clusters", work / "tmp", "--min-seq-id", identity],
            *["-c", coverage, "--cov-mode", 0, "--cluster-reassign", 1, "--threads", threads, "-v", 1],
        )
        with open(work / "clusters_cluster.tsv") as handle:
            members = {member: representative for representative, member in csv.reader(handle, delimiter="\t")}
    return pd.Series({id: members[id] for id, _ in sequences.items()})


def find_pairs(
    queries: Mapping[str, str], subjects: Mapping[str, str], *options, threads: int, sensitivity: float = 7.5
) -> pd.DataFrame:
    """HIT_COLUMNS of each pair that `mmseqs easy-search` finds with these further options, the best e-value of a pair.

    identity is that of the aligned columns, coverage the aligned share of the shorter sequence, both fractions.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_fasta(work / "queries.fasta", queries)
        write_fasta(work / "subjects.fasta", subjects)
        run_tool(
            *["mmseqs", "easy-search", work / "queries.fasta", work / "subjects.fasta", work / "hits.tsv"],
            *[work / "tmp", "-s", sensitivity, "--threads", threads, "-v", 1, *options],
            *["--format-output", "query,target,fident,qcov,tcov,qlen,tlen,evalue"],
        )
        names = ["query", "subject", "identity", "query_coverage", "subject_coverage", "query_length", "subject_length"]
        hits = pd.read_csv(work / "hits.tsv", sep="\t", names=[*names, "evalue"], dtype={"query": str, "subject": str})
    shorter = hits["query_length"] <= hits["subject_length"]
    hits["coverage"] = hits["query_coverage"].where(shorter, hits["subject_coverage"])
    return hits.sort_values(["query", "subject", "evalue"])[HIT_COLUMNS].drop_duplicates(["query", "subject"])


def align(queries: Mapping[str, str], pool: Path, work: Path, *options, threads: int) -> Iterator[tuple[str, Path]]:
    """(id, a3m file in `work`) of each query aligned to the FASTA file or MMseqs2 database `pool`."""
    write_fasta(work / "queries.fasta", queries)
    run_tool("mmseqs", "createdb", work / "queries.fasta", work / "queries", "-v", 1)
    if not Path(f"{pool}.dbtype").exists():
        run_tool("mmseqs", "createdb", pool, work / "pool", "-v", 1)
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

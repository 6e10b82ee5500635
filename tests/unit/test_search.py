import gzip
import os
import re
import shutil
import stat
import textwrap
from pathlib import Path

import numpy as np
import pytest

from hardfold import tables, tools
from hardfold.jobs import DATABASE_FILES
from hardfold.search import database as hhsuite
from hardfold.search import shard
from hardfold.search.database import DatabaseError
from hardfold.structure.chain import Chain, save_chains
from hardfold.tools import ToolError

SEQUENCE = "MKTAYIAKQRQISFVKSHFS"
OPTIONS = {"given": "", "iterations": 1, "evalue": 1e-3, "min_coverage": 0.5, "threads": 2}
DEMO = Path(__file__).parents[2] / "resources/demo"


@pytest.fixture
def database(tmp_path):
    """Six files that pass the preflight."""
    folder = tmp_path / "database"
    folder.mkdir()
    for ending in DATABASE_FILES:
        Path(f"{folder}/db{ending}").write_text("content")
    return str(folder / "db")


@pytest.fixture
def chains(tmp_path):
    """A structures file of three chains; two have the same sequence."""
    sequences = {"1aaa_A": SEQUENCE, "1bbb_B": SEQUENCE, "1ccc_C": SEQUENCE[::-1]}
    path = tmp_path / "shard.h5"
    save_chains(
        path,
        [Chain.from_atoms(id, letters, np.ones((len(letters), 5, 3))) for id, letters in sequences.items()],
    )
    return path


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a stand-in for an external program first on the PATH: a body of Python that sees `argv`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def install(name, body):
        script = folder / name
        script.write_text("#!/usr/bin/env python3\nimport os, signal, sys\nargv = sys.argv\n" + textwrap.dedent(body))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return install


# Answers with the query and one homologue, and counts its calls.
HHBLITS = """
    query = open(argv[argv.index("-i") + 1]).read()
    open({calls!r}, "a").write("called\\n")
    open(argv[argv.index("-oa3m") + 1], "w").write(query + ">hit\\n" + "A" * len(query.split()[1]) + "\\n")
"""


def run(tmp_path, chains, database, **changes):
    folder, table = tmp_path / "out", tmp_path / "out.tsv"
    shard.search_shard(chains, folder, table, database=database, cache=str(tmp_path / "cache"), **(OPTIONS | changes))
    return folder, tables.read(table).set_index("chain")


def test_a_search_is_made_once_for_a_sequence(tmp_path, chains, database, program):
    calls = tmp_path / "calls"
    program("hhblits", HHBLITS.format(calls=str(calls)))
    folder, first = run(tmp_path, chains, database, threads=1)
    assert len(calls.read_text().split()) == 2
    assert first["tool"].tolist() == ["hhblits"] * 3
    assert first["rows"].tolist() == ["2"] * 3
    assert first["cached"].tolist() == ["False", "True", "False"]
    assert first["database"].iloc[0].startswith("db:")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    _, second = run(tmp_path, chains, database)
    assert len(calls.read_text().split()) == 2
    assert second["cached"].tolist() == ["True"] * 3
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == ["1aaa_A.a3m", "1bbb_B.a3m", "1ccc_C.a3m"]


def test_another_database_other_options_or_a_damaged_file_are_searched_again(tmp_path, chains, database, program):
    calls = tmp_path / "calls"
    program("hhblits", HHBLITS.format(calls=str(calls)))
    run(tmp_path, chains, database, threads=1)
    run(tmp_path, chains, database, threads=1, evalue=1e-5)
    assert len(calls.read_text().split()) == 4
    Path(f"{database}_hhm.ffindex").write_text("changed")
    run(tmp_path, chains, database, threads=1)
    assert len(calls.read_text().split()) == 6
    for cached in (tmp_path / "cache").rglob("*.a3m"):
        cached.write_text(">query\nhalf a f")
    run(tmp_path, chains, database, threads=1)
    assert len(calls.read_text().split()) == 8


def test_a_failed_search_is_a_row_and_stops_no_other(tmp_path, chains, database, program):
    body = 'if "SFHS" in open(argv[argv.index("-i") + 1]).read(): sys.exit("no memory for this one")\n'
    program("hhblits", body + textwrap.dedent(HHBLITS.format(calls=str(tmp_path / "calls"))))
    folder, table = run(tmp_path, chains, database)
    assert table["status"].tolist() == ["ok", "ok", "failed"]
    assert table.loc["1ccc_C", "tool"] == "none"
    assert "exit status 1: no memory for this one" in table.loc["1ccc_C", "reason"]
    assert (table.loc["1ccc_C", "rows"], table.loc["1ccc_C", "neff"]) == ("1", "1")
    assert (folder / "1ccc_C.a3m").read_text() == f">query\n{SEQUENCE[::-1]}\n"


def test_a_crash_is_told_with_its_signal_and_advice(tmp_path, chains, database, program):
    program("hhblits", "os.kill(os.getpid(), signal.SIGSEGV)")
    _, table = run(tmp_path, chains, database)
    assert table["status"].tolist() == ["failed"] * 3
    assert "signal 11 (Segmentation fault)" in table["reason"].iloc[0]
    assert "memory" in table["reason"].iloc[0]


def test_no_homologue_is_no_failure(tmp_path, chains, database, program):
    program("hhblits", 'open(argv[argv.index("-oa3m") + 1], "w").write(open(argv[argv.index("-i") + 1]).read())')
    _, table = run(tmp_path, chains, database)
    assert table["status"].tolist() == ["no_hits"] * 3
    assert table["tool"].tolist() == ["hhblits"] * 3


def test_given_alignments_come_first_unless_they_are_of_another_sequence(tmp_path, chains, database, program):
    program("hhblits", HHBLITS.format(calls=str(tmp_path / "calls")))
    given = tmp_path / "given"
    given.mkdir()
    mine = f">mine\n{SEQUENCE}\n>a\n{'C' * 20}\n>b\n{'-' * 20}\n"
    (given / "1aaa_A.a3m").write_text(mine)
    (given / "1bbb_B.a3m").write_text(mine.replace("MKT", "MKV"))
    folder, table = run(tmp_path, chains, database, given=str(given))
    assert table["tool"].tolist() == ["given", "hhblits", "hhblits"]
    assert (table.loc["1aaa_A", "rows"], table.loc["1aaa_A", "database"]) == ("3", "")
    assert (folder / "1aaa_A.a3m").read_text() == mine
    assert "given alignment refused" in table.loc["1bbb_B", "reason"]
    assert "V at position 3, the chain T" in table.loc["1bbb_B", "reason"]


def test_an_incomplete_database_stops_before_any_search(tmp_path, chains, database, program):
    program("hhblits", HHBLITS.format(calls=str(tmp_path / "calls")))
    Path(f"{database}_hhm.ffdata").unlink()
    Path(f"{database}_cs219.ffindex").write_text("")
    with pytest.raises(DatabaseError, match=r"db_hhm\.ffdata is missing, .*db_cs219\.ffindex is empty"):
        run(tmp_path, chains, database)
    assert not (tmp_path / "calls").exists()


def test_a_database_that_vanishes_stops_the_job(tmp_path, chains, database, program):
    program("hhblits", f'os.remove("{database}_a3m.ffdata"); sys.exit("could not open file")')
    with pytest.raises(DatabaseError, match=r"db_a3m\.ffdata is missing"):
        run(tmp_path, chains, database, threads=1)


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="nosuchtool is not installed"):
        tools.find_tool("nosuchtool")


def test_entries_are_joined_in_order_and_found_by_a_sorted_index(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"DATE now\nfirst\n\0")
    two.write_bytes(b"second\n\0")
    hhsuite._write_ordered(
        tmp_path / "joined",
        ["b", "a"],
        [(one, {"a": (0, 16)}), (two, {"b": (0, 8)})],
        drop=re.compile(rb"^DATE .*\n", re.MULTILINE),
    )
    assert (tmp_path / "joined.ffdata").read_bytes() == b"second\n\0first\n\0"
    assert (tmp_path / "joined.ffindex").read_text() == "a\t8\t7\nb\t0\t8\n"
    with pytest.raises(DatabaseError, match="1 of 1 clusters"):
        hhsuite._write_ordered(tmp_path / "lost", ["c"], [(one, {"c": (0, 1)})])


def test_a_pool_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DatabaseError, match=r"pool\.fasta is missing"):
        hhsuite.build_database(tmp_path / "pool.fasta", tmp_path / "database", 1)
    assert not list((tmp_path / "database").iterdir())


@pytest.mark.skipif(
    not all(map(shutil.which, ("mmseqs", "hhblits", "ffindex_apply"))), reason="needs HH-suite and MMseqs2"
)
def test_a_database_built_from_real_sequences_finds_their_homologues(tmp_path):
    with gzip.open(DEMO / "pool.fasta.gz", "rt") as handle:
        records = handle.read().split(">")[1:]
    # The first sequence, two relatives at about 80 % identity, and two strangers.
    name, first = records[0].split()[:2]
    random = np.random.default_rng(1)
    changed = ["".join(random.choice(list("ACDEFGHIKL")) if random.random() < 0.2 else a for a in first) for _ in "ab"]
    pool = tmp_path / "pool.fasta.gz"
    with gzip.open(pool, "wt") as handle:
        handle.write(f">{name}\n{first}\n>a\n{changed[0]}\n>b\n{changed[1]}\n>{records[40]}>{records[80]}")
    databases = [tmp_path / "one", tmp_path / "two"]
    for threads, folder in zip((1, 8), databases, strict=True):  # more threads than clusters
        hhsuite.build_database(pool, folder, threads)
    for ending in DATABASE_FILES:
        assert (databases[0] / f"pool{ending}").read_bytes() == (databases[1] / f"pool{ending}").read_bytes()
    save_chains(tmp_path / "s.h5", [Chain.from_atoms("1aaa_A", first, np.ones((len(first), 5, 3)))])
    _, table = run(tmp_path, tmp_path / "s.h5", str(databases[0] / "pool"))
    assert table.loc["1aaa_A", "status"] == "ok"
    assert int(table.loc["1aaa_A", "rows"]) >= 3

import os
import stat
import textwrap
from pathlib import Path

import pytest
from made_up_searches import HHBLITS, OPTIONS, SEQUENCE, save_sequences

from hardfold import tables
from hardfold.jobs import DATABASE_FILES
from hardfold.search import shard


@pytest.fixture
def database(tmp_path):
    """Six files that pass for an HH-suite database."""
    folder = tmp_path / "database"
    folder.mkdir()
    for ending in DATABASE_FILES["hhblits"]:
        Path(f"{folder}/db{ending}").write_text("content")
    return str(folder / "db")


@pytest.fixture
def chains(tmp_path):
    """A structures file of three chains; two have the same sequence."""
    return save_sequences(tmp_path / "shard.h5", {"1aaa_A": SEQUENCE, "1bbb_B": SEQUENCE, "1ccc_C": SEQUENCE[::-1]})


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


@pytest.fixture
def hhblits(tmp_path, program):
    """Puts a stand-in for hhblits on the PATH, with lines of Python of its own; returns a reader of its calls."""
    calls = tmp_path / "calls"
    calls.touch()

    def install(body=""):
        program("hhblits", HHBLITS.format(calls=str(calls), body=body))
        return lambda: calls.read_text().split()

    return install


@pytest.fixture
def run(tmp_path, chains, database):
    """Runs a shard; returns the folder of alignments and the table by chain."""

    def run(**changes):
        folder, table = tmp_path / "out", tmp_path / "out.tsv"
        options = {"chains": chains, "database": database, "cache": str(tmp_path / "cache"), **OPTIONS, **changes}
        shard.search_shard(folder=folder, table=table, **options)
        return folder, tables.read(table).set_index("chain")

    return run

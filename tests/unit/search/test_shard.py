import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_searches import SEQUENCE, save_sequences

from hardfold.search import shard
from hardfold.search.database import DatabaseError
from hardfold.tools import ToolError

OTHER = SEQUENCE[::-1]


def test_a_search_is_made_once_for_a_sequence(run, hhblits):
    calls = hhblits()
    folder, first = run()
    assert sorted(calls()) == sorted([SEQUENCE, OTHER])
    assert first["tool"].tolist() == ["hhblits"] * 3
    assert first["rows"].tolist() == ["2"] * 3
    assert first["cached"].tolist() == ["False", "True", "False"]
    assert first["database"].iloc[0].startswith("db:")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    _, second = run()
    assert len(calls()) == 2
    assert second["cached"].tolist() == ["True"] * 3
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(before) == ["1aaa_A.a3m", "1bbb_B.a3m", "1ccc_C.a3m"]


def test_another_database_options_version_or_a_damaged_file_are_searched_again(run, hhblits, tmp_path, database):
    calls = hhblits()
    run()
    run(evalue=1e-5)
    assert len(calls()) == 4
    Path(f"{database}_hhm.ffindex").write_text("changed")
    run()
    assert len(calls()) == 6
    program = tmp_path / "bin/hhblits"
    program.write_text(program.read_text().replace("3.3.0", "3.4.0"))
    run()
    assert len(calls()) == 8
    for cached in (tmp_path / "cache").rglob("*.a3m"):
        cached.write_text(">query\nhalf a f")
    run()
    assert len(calls()) == 10


def test_a_failed_search_is_a_row_stops_no_other_and_is_not_kept(run, hhblits):
    calls = hhblits('if "SFHS" in sequence: sys.exit("no memory for this one")')
    folder, table = run()
    assert table["status"].tolist() == ["ok", "ok", "failed"]
    assert table.loc["1ccc_C", "tool"] == "none"
    assert "exit status 1: no memory for this one" in table.loc["1ccc_C", "reason"]
    assert (table.loc["1ccc_C", "rows"], table.loc["1ccc_C", "neff"]) == ("1", "1")
    assert (folder / "1ccc_C.a3m").read_text() == f">query\n{OTHER}\n"
    run()
    assert calls().count(OTHER) == 2
    assert calls().count(SEQUENCE) == 1


def test_an_alignment_of_another_query_is_a_fault_and_not_kept(run, hhblits, tmp_path):
    hhblits('query = query.replace("K", "R")')
    _, table = run()
    assert table["status"].tolist() == ["failed"] * 3
    assert "R at position 2, the chain K" in table.loc["1aaa_A", "reason"]
    assert not list((tmp_path / "cache").rglob("*.a3m"))


def test_no_homologue_is_no_failure(run, hhblits):
    hhblits('sys.exit(open(argv[argv.index("-oa3m") + 1], "w").write(query) and 0)')
    _, table = run()
    assert table["status"].tolist() == ["no_hits"] * 3
    assert table["tool"].tolist() == ["hhblits"] * 3
    assert table["reason"].tolist() == ["no homologue"] * 3


def test_a_program_that_writes_nothing_is_a_fault(run, hhblits):
    hhblits("sys.exit()")
    _, table = run()
    assert table["status"].tolist() == ["failed"] * 3
    assert "No such file" in table.loc["1aaa_A", "reason"]


def test_a_shard_without_chains(run, hhblits, tmp_path):
    hhblits()
    folder, table = run(chains=save_sequences(tmp_path / "none.h5", {}))
    assert not list(folder.iterdir())
    assert list(table.columns) == shard.COLUMNS[1:]


def test_given_alignments_come_first_unless_they_are_of_another_sequence(run, hhblits, tmp_path):
    hhblits()
    given = tmp_path / "given"
    given.mkdir()
    mine = f">mine\n{SEQUENCE}\n>a\n{'C' * 20}\n>b\n{'-' * 20}\n"
    (given / "1aaa_A.a3m").write_text(mine)
    (given / "1bbb_B.a3m").write_text(mine.replace("MKT", "MKV"))
    folder, table = run(given=str(given))
    assert table["tool"].tolist() == ["given", "hhblits", "hhblits"]
    assert (table.loc["1aaa_A", "rows"], table.loc["1aaa_A", "database"]) == ("3", "")
    assert (folder / "1aaa_A.a3m").read_text() == mine
    assert "given alignment refused" in table.loc["1bbb_B", "reason"]
    assert "V at position 3, the chain T" in table.loc["1bbb_B", "reason"]
    assert table.loc["1bbb_B", "status"] == "ok"


def test_given_alone_needs_no_program_and_no_database(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    given = tmp_path / "given"
    given.mkdir()
    (given / "1aaa_A.aln").write_text(f"{SEQUENCE}\n{'C' * 20}\n")
    (given / "1ccc_C.a3m").write_text(">other\nACD\n")
    folder, table = run(provider="given", database="", given=str(given))
    assert table["tool"].tolist() == ["given", "none", "none"]
    assert table["status"].tolist() == ["ok", "failed", "failed"]
    assert table.loc["1bbb_B", "reason"] == "no alignment is given"
    assert "has 3 residues, the chain 20" in table.loc["1ccc_C", "reason"]
    assert (folder / "1ccc_C.a3m").read_text() == f">query\n{OTHER}\n"


def test_an_incomplete_database_stops_before_any_search(run, hhblits, database):
    calls = hhblits()
    Path(f"{database}_hhm.ffdata").unlink()
    Path(f"{database}_cs219.ffindex").write_text("")
    with pytest.raises(DatabaseError, match=r"db_hhm\.ffdata is missing, .*db_cs219\.ffindex is empty"):
        run()
    assert not calls()


def test_a_database_that_vanishes_stops_the_job(run, hhblits, database):
    hhblits(f'os.remove("{database}_a3m.ffdata"); sys.exit("could not open file")')
    with pytest.raises(DatabaseError, match=r"db_a3m\.ffdata is missing"):
        run(threads=1)


def test_a_missing_program_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("hardfold.tools._DEBIAN_FOLDER", str(tmp_path))
    with pytest.raises(ToolError, match="hhblits is not installed"):
        run()


def test_a_cache_that_cannot_be_written_stops_before_any_search(run, hhblits, tmp_path):
    calls = hhblits()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run(cache=str(tmp_path / "file"))
    assert not calls()


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounts a small file system: needs root")
def test_a_full_disk_is_an_error_and_leaves_no_half_alignment(run, hhblits, tmp_path):
    hhblits()
    cache = tmp_path / "small"
    cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(cache)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        (cache / "filler").write_bytes(b"x" * 16384)
        with pytest.raises(OSError, match="No space left"):
            run(cache=str(cache))
        assert not list(cache.rglob("*.a3m"))
    finally:
        subprocess.run(["umount", str(cache)], check=True)

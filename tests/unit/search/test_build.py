import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_up_searches import save_sequences

from hardfold.alignment import read_a3m
from hardfold.jobs import DATABASE_FILES
from hardfold.search import build
from hardfold.search.database import DatabaseError, check_database, database_identity

DEMO = Path(__file__).parents[3] / "resources/demo"
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("mmseqs", "hhblits", "ffindex_apply"))), reason="needs HH-suite and MMseqs2"
)


def test_entries_are_joined_in_order_and_found_by_a_sorted_index(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"DATE now\nfirst\n\0")
    two.write_bytes(b"second\n\0")
    build._write_ordered(
        tmp_path / "joined",
        ["b", "a"],
        [(one, {"a": (0, 16)}), (two, {"b": (0, 8)})],
        drop=re.compile(rb"^DATE .*\n", re.MULTILINE),
    )
    assert (tmp_path / "joined.ffdata").read_bytes() == b"second\n\0first\n\0"
    assert (tmp_path / "joined.ffindex").read_text() == "a\t8\t7\nb\t0\t8\n"
    with pytest.raises(DatabaseError, match="1 of 1 clusters"):
        build._write_ordered(tmp_path / "lost", ["c"], [(one, {"c": (0, 1)})])


def test_a_pool_that_cannot_be_used_leaves_nothing(tmp_path):
    (tmp_path / "pool.fasta").write_text("no FASTA\n")
    with pytest.raises(DatabaseError, match="is not FASTA"):
        build.build_database("jackhmmer", tmp_path / "pool.fasta", tmp_path / "database/pool.fasta", 1)
    assert not list((tmp_path / "database").iterdir())


def test_identity_follows_sizes_and_content(tmp_path, monkeypatch):
    monkeypatch.setattr("hardfold.search.database._SAMPLE", 10)
    file = tmp_path / "db.fasta"
    content = np.random.default_rng(1).bytes(100_000)
    seen = set()
    for changed in (content, content[:-1], content + b"x", b"y" + content[1:], content[:-1] + b"z", content[::-1]):
        file.write_bytes(changed)
        seen.add(database_identity("jackhmmer", str(file)))
    assert len(seen) == 6
    file.write_bytes(content)
    assert database_identity("jackhmmer", str(file)) in seen
    with pytest.raises(DatabaseError, match=r"mmseqs2 database .* is not complete: .*db\.fasta\.dbtype is missing"):
        check_database("mmseqs2", str(file))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A real sequence, two relatives at about 80 % identity, strangers, and records of every odd kind."""
    with gzip.open(DEMO / "pool.fasta.gz", "rt") as handle:
        records = handle.read().split(">")[1:]
    name, first = records[0].split()[:2]
    random = np.random.default_rng(1)
    relatives = [
        "".join(random.choice(list("ACDEFGHIKL")) if random.random() < 0.2 else a for a in first) for _ in "ab"
    ]
    path = tmp_path_factory.mktemp("pool") / "pool.fasta.gz"
    with gzip.open(path, "wt") as handle:
        handle.write(f">{name}\n{first}\n>a/1-9 words\r\n{relatives[0].lower()}*\r\n>a/1-9\n{relatives[1]}\n")
        handle.write(
            f">{records[40]}>{records[80]}>short\nM\n>odd\nMKUOBZJXMKUOBZJXMKUOBZJX\n>empty\n>ä\n{'GP' * 20}\n"
        )
    return path, first


@needs_tools
@pytest.mark.parametrize("provider", ["hhblits", "mmseqs2", "jackhmmer"])
def test_a_database_built_from_real_sequences_finds_their_homologues(tmp_path, run, pool, provider):
    databases = [tmp_path / "one/pool", tmp_path / "two/pool"]
    for threads, prefix in zip((1, 8), databases, strict=True):  # more threads than clusters
        build.build_database(provider, pool[0], prefix, threads)
        assert sorted(f"{prefix}{ending}" for ending in DATABASE_FILES[provider]) == sorted(
            str(file) for file in prefix.parent.iterdir()
        )
    for ending in DATABASE_FILES[provider]:
        assert Path(f"{databases[0]}{ending}").read_bytes() == Path(f"{databases[1]}{ending}").read_bytes()
    query = pool[1][:20] + "X" + pool[1][21:]
    stranger = "".join(np.random.default_rng(3).choice(list("ACDEFGHIKLMNPQRSTVWY"), 60))
    chains = save_sequences(tmp_path / "s.h5", {"1aaa_A": query, "1bbb_A": stranger, "1ccc_A": "X" * 30})
    folder, table = run(chains=chains, provider=provider, database=str(databases[0]), iterations=2)
    assert table["status"].tolist() == ["ok", "no_hits", "no_hits"]
    assert set(table["tool"]) == {provider}
    assert int(table.loc["1aaa_A", "rows"]) in (3, 4)  # hhblits drops near copies of the query
    found = read_a3m(folder / "1aaa_A.a3m", query)
    assert found.rows.shape == (int(table.loc["1aaa_A", "rows"]), len(query))
    relative = np.frombuffer(pool[1].encode(), np.uint8)
    assert ((found.rows[1:] == relative).mean(1) > 0.6).all()


@needs_tools
@pytest.mark.parametrize("provider", ["mmseqs2", "jackhmmer"])
def test_hits_that_cover_too_little_of_the_query_are_left_out(tmp_path, run, pool, provider):
    build.build_database(provider, pool[0], tmp_path / "db/pool", 1)
    strangers = "".join(np.random.default_rng(3).choice(list("ACDEFGHIKLMNPQRSTVWY"), 2 * len(pool[1])))
    chains = save_sequences(tmp_path / "s.h5", {"1aaa_A": pool[1] + strangers})
    for coverage, status in ((0.2, "ok"), (0.5, "no_hits")):
        _, table = run(chains=chains, provider=provider, database=str(tmp_path / "db/pool"), min_coverage=coverage)
        assert table["status"].tolist() == [status]


def test_a_file_that_is_not_fasta_stops_jackhmmer(tmp_path, run):
    (tmp_path / "db.fasta").write_text(">a\nMK1V\n")
    with pytest.raises(DatabaseError, match=r"db\.fasta: not FASTA of proteins: .*illegal character 1"):
        run(provider="jackhmmer", database=str(tmp_path / "db.fasta"))

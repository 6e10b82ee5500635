from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import pytest

from hardfold.alignment import Alignment, AlignmentError, read_a3m, single_row, write_a3m
from hardfold.search.cache import Cache

SEQUENCE = "ACDEF" * 200
PROVIDER = SimpleNamespace(name="hhblits", version="3.3.0", identity="abc", options=("-n", 1))


def put_often(folder, found):
    """Write and read the same entry again and again; the numbers of rows read."""
    cache, rows = Cache(folder, PROVIDER), set()
    for _ in range(40):
        cache.put(SEQUENCE, found)
        rows.add(len(read_a3m(cache.path(SEQUENCE), SEQUENCE).rows))
    return rows


def test_writers_side_by_side_never_show_half_a_file(tmp_path):
    found = tmp_path / "found.a3m"
    row = single_row(SEQUENCE).rows
    write_a3m(found, Alignment(("q",) * 300, row.repeat(300, axis=0)))
    with ProcessPoolExecutor(3) as executor:
        assert set().union(*executor.map(put_often, [tmp_path / "cache"] * 3, [found] * 3)) == {300}
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


@pytest.mark.parametrize(
    "change", [{"name": "mmseqs2"}, {"version": "3.4.0"}, {"identity": "abd"}, {"options": ("-n", 2)}]
)
def test_what_decides_a_search_decides_its_place(tmp_path, change):
    other = SimpleNamespace(**(vars(PROVIDER) | change))
    assert Cache(tmp_path, PROVIDER).path("ACD") != Cache(tmp_path, other).path("ACD")
    assert Cache(tmp_path, PROVIDER).path("ACD") != Cache(tmp_path, PROVIDER).path("ACE")
    assert Cache(tmp_path, PROVIDER).path("ACD") == Cache(tmp_path, PROVIDER).path("ACD")


def test_a_faulty_alignment_is_not_kept(tmp_path):
    cache, found = Cache(tmp_path / "cache", PROVIDER), tmp_path / "found.a3m"
    write_a3m(found, single_row("ACE"))
    with pytest.raises(AlignmentError, match="E at position 3"):
        cache.put("ACD", found)
    assert not cache.holds("ACD")
    cache.put("ACE", found)
    assert cache.holds("ACE")

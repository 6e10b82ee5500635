import gzip
import hashlib

import pandas as pd
import pytest

from hardfold import download
from hardfold.download import DownloadError

BODY = gzip.compress(b"data_TEST\n", mtime=0)
DIGEST = hashlib.sha256(BODY).hexdigest()


def record(chain, id=None, **other):
    """The record of a chain; with an id, of a target."""
    entry, _, name = chain.partition("_")
    found = {"id": id or chain, "entry": entry, "chain": name, "auth_range": "", "file": "", "target": id is not None}
    return found | other


@pytest.fixture
def shard(tmp_path, server, waits):
    """Download a shard of these chains (an id `1abc_A`, or a record); returns its table by id."""

    def run(*chains, mirror=(), offline=False):
        folder, table = tmp_path / "raw", tmp_path / "raw.tsv"
        download.download_shard(
            records=[chain if isinstance(chain, dict) else record(chain) for chain in chains],
            mirror=[str(path) for path in mirror],
            archive=server.url,
            cache=tmp_path / "cache",
            offline=offline,
            folder=folder,
            table=table,
        )
        return pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False).set_index("id")

    return run


def test_mirror_comes_first_in_every_layout(shard, server, tmp_path):
    mirror = tmp_path / "mirror"
    places = {"1aaa": "1aaa.cif.gz", "1bbb": "bb/1bbb.cif.gz", "1ccc": "pdb1ccc.ent.gz", "1ddd": "1ddd.pdb"}
    for name in places.values():
        (mirror / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / name).write_bytes(BODY)
    table = shard("1aaa_A", "1bbb_A", "1ccc_A", "1ddd_A", "1ddd_B", mirror=[mirror])
    assert server.asked == [] and list(table["reason"]) == [""] * 5 and set(table["sha256"]) == {DIGEST}
    assert table.loc["1bbb_A", "source"] == str(mirror / "bb/1bbb.cif.gz")
    names = ["1aaa.cif.gz", "1bbb.cif.gz", "1ccc.ent.gz", "1ddd.pdb"]
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == names


def test_archive_is_asked_once_for_what_the_mirror_lacks(shard, server, tmp_path):
    server.replies["/ab/1abc.cif.gz"] = [(200, {"Content-Encoding": "x-gzip"}, BODY)]
    table = shard("1abc_A", "1abc_B", "9xyz_A")
    assert (tmp_path / "raw/1abc.cif.gz").read_bytes() == BODY
    assert list(table.loc["1abc_B", ["entry", "file", "numbering", "sha256"]]) == [
        "1abc",
        "1abc.cif.gz",
        "author",
        DIGEST,
    ]
    assert list(table["reason"]) == ["", "", "HTTP status 404"]
    assert table.loc["9xyz_A", "reason"] == "HTTP status 404"
    assert server.asked == ["/ab/1abc.cif.gz", "/xy/9xyz.cif.gz"]


def test_busy_server_is_asked_again_when_it_says(shard, server, waits):
    server.replies["/ab/1abc.cif.gz"] = [(503, {}, b""), (429, {"Retry-After": "7"}, b""), (200, {}, BODY)]
    assert shard("1abc_A").loc["1abc_A", "reason"] == ""
    assert waits == [1, 7]


def test_a_server_that_asks_for_two_hours_is_not_asked_again_and_a_senseless_wish_is_ignored(shard, server, waits):
    server.replies["/ab/1abc.cif.gz"] = [(503, {"Retry-After": "soon"}, b""), (200, {}, BODY)]
    shard("1abc_A")
    assert waits == [1]
    server.replies["/ab/2abc.cif.gz"] = [(503, {"Retry-After": "7200"}, b"")]
    with pytest.raises(DownloadError, match="asks to wait 7200 s"):
        shard("2abc_A")
    assert server.asked.count("/ab/2abc.cif.gz") == 1


@pytest.mark.parametrize("cut", [{}, {"Content-Length": str(len(BODY) + 5)}])
def test_truncated_body_is_fetched_again_and_never_kept(shard, server, tmp_path, cut):
    part = BODY[:-6] if not cut else BODY
    server.replies["/ab/1abc.cif.gz"] = [(200, cut | {"Connection": "close"}, part), (200, {}, BODY)]
    assert shard("1abc_A").loc["1abc_A", "sha256"] == DIGEST
    server.replies["/ab/2abc.cif.gz"] = [(200, {}, b"<html>login</html>")]
    with pytest.raises(DownloadError, match="broken gzip file"):
        shard("1abc_A", "2abc_A")
    assert [path.name for path in (tmp_path / "cache").rglob("*.gz")] == ["1abc.cif.gz"]


def test_whatever_the_archive_does_an_entry_comes_whole_or_with_one_clear_error(shard, server, tmp_path, archive_fault):
    fault, message = archive_fault
    server.replies |= {"/ab/1abc.cif.gz": [fault, fault, (200, {}, BODY)], "/ab/2abc.cif.gz": [fault]}
    assert shard("1abc_A").loc["1abc_A", "sha256"] == DIGEST
    (tmp_path / "raw.tsv").unlink()
    with pytest.raises(DownloadError, match=rf"the network failed for {server.url}/ab/2abc\.cif\.gz \(.*({message})"):
        shard("1abc_A", "2abc_A")
    assert server.asked.count("/ab/2abc.cif.gz") == download.ATTEMPTS
    kept = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == ["1abc.cif.gz"] * 2  # in the cache and in the shard


def test_offline_never_asks_and_says_so(shard, server):
    table = shard("1abc_A", offline=True)
    assert server.asked == [] and "offline" in table.loc["1abc_A", "reason"]


def test_broken_mirror_file_is_a_row(shard, tmp_path):
    (tmp_path / "1abc.cif.gz").write_bytes(BODY[:-6])
    table = shard("1abc_A", mirror=[tmp_path], offline=True)
    assert "broken gzip file" in table.loc["1abc_A", "reason"]
    assert list((tmp_path / "raw").iterdir()) == []


def test_one_error_when_the_network_fails_for_every_entry(shard, server, tmp_path):
    entries = [f"{digit}abc" for digit in range(1, 7)]
    for entry in entries:
        server.replies[f"/ab/{entry}.cif.gz"] = [(500, {}, b"")]
    with pytest.raises(DownloadError, match=r"/ab/1abc.*/ab/2abc.*/ab/3abc.*HTTP status 500"):
        shard(*(f"{entry}_A" for entry in entries))
    assert len(server.asked) == download.GIVE_UP * download.ATTEMPTS
    assert not (tmp_path / "raw.tsv").exists()


def test_an_entry_that_the_network_failed_for_is_no_dropped_row_and_what_came_is_not_asked_for_again(shard, server):
    server.replies |= {"/ab/1abc.cif.gz": [(200, {}, BODY)], "/ab/2abc.cif.gz": [(500, {}, b"")]}
    with pytest.raises(DownloadError, match=r"2abc.*HTTP status 500.*run again"):
        shard("1abc_A", "2abc_A", "9abc_A")
    server.replies["/ab/2abc.cif.gz"] = [(200, {}, BODY)]
    assert list(shard("1abc_A", "2abc_A", "9abc_A")["reason"]) == ["", "", "HTTP status 404"]
    assert server.asked.count("/ab/1abc.cif.gz") == 1


def test_nothing_is_touched_for_an_id_that_is_none_or_a_mirror_that_is_not_there(shard, tmp_path):
    for bad in (record("../../etc_A"), record("1abc_A", "../T1"), record("1abc_A", "T1\n")):
        with pytest.raises(DownloadError, match="is no id of letters"):
            shard(bad)
    with pytest.raises(DownloadError, match=r"inputs\.mirror"):
        shard("1abc_A", mirror=[tmp_path / "none"])
    assert not (tmp_path / "raw").exists()


def test_a_file_under_the_record_s_own_id_comes_before_its_entry_s(shard, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (
        first / "1abc.cif.gz",
        second / "1abc_A.pdb",
        second / "T1.pdb",
        second / "T1.fasta",
        first / "1abc.fasta",
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(BODY)
    targets = [record("1abc_A", "T1"), record("1abc_B", "T2"), record("", "T3"), record("1abc_A", "1abc_A")]
    table = shard("1abc_C", "1abc", *targets[:3], mirror=[first, second], offline=True)
    assert table["file"].to_dict() == {
        "1abc": "1abc.cif.gz", "1abc_C": "1abc.cif.gz", "T1": "T1.pdb", "T2": "1abc.cif.gz", "T3": "",
    }  # fmt: skip
    # Only a target under its own name is numbered by position, and only its sequence is taken.
    assert table.loc["T1", ["numbering", "sequence", "sequence_sha256"]].tolist() == ["position", "T1.fasta", DIGEST]
    assert (table.loc[["1abc", "1abc_C", "T2"], "numbering"] == "author").all() and (table["sequence"] != "").sum() == 1
    assert "not in the mirror, and without a chain id" in table.loc["T3", "reason"]
    # Without a chain it is the target, even under its entry's name; never all of the entry's chains.
    table = shard(record("1abc", "1abc"), mirror=[first], offline=True)
    assert table.loc["1abc", ["file", "numbering"]].tolist() == ["1abc.cif.gz", "position"]
    # A file of the name of the target's chain is that chain's.
    table = shard(targets[3], mirror=[first, second], offline=True)
    assert table.loc["1abc_A", ["file", "numbering"]].tolist() == ["1abc_A.pdb", "author"]


def test_files_of_a_folder_are_taken_by_their_path(shard, tmp_path):
    (tmp_path / "PDB1ABC.ENT").write_bytes(b"text")
    (tmp_path / "2abc.cif").symlink_to(tmp_path / "PDB1ABC.ENT")
    (tmp_path / "3abc.cif").symlink_to(tmp_path / "none")
    (tmp_path / "4abc.cif").mkdir()
    (tmp_path / "5abc.cif").symlink_to("/proc/self/mem")  # opens, but cannot be read
    names = ["PDB1ABC.ENT", *(f"{digit}abc.cif" for digit in range(2, 6))]
    table = shard(*(record(f"{i}abc", file=str(tmp_path / name)) for i, name in enumerate(names, 1)), offline=True)
    assert list(table["file"]) == ["1abc.ent", "2abc.cif", "", "", ""]
    reasons = ["", "", "no such file", "not a file", "input/output error"]
    assert list(table["reason"]) == reasons and table.loc["3abc", "source"] == str(tmp_path / "3abc.cif")
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["1abc.ent", "2abc.cif"]


def test_a_secure_address_is_not_left(server, waits, tmp_path):
    class Sent:
        """What a session would answer after it followed a redirection."""

        def get(self, *_, **__):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        url, status_code = "http://elsewhere/1abc.cif.gz", 200

    with pytest.raises(download.MissingEntry, match=r"sent on to http://elsewhere/1abc\.cif\.gz, which"):
        download.fetch(Sent(), "https://archive/1abc.cif.gz", tmp_path / "1abc.cif.gz")
    assert waits == [] and not list(tmp_path.iterdir())

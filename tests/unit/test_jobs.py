"""Shards, library hashes, resources and progress."""

import logging
import os

from hardfold import jobs


def test_the_quality_control_in_a_line(tmp_path):
    path = tmp_path / "qc.tsv"
    assert jobs.quality_note(path) == ""
    path.write_text("chain\tstatus\treason\na\tkept\t\nb\tdropped\tempty file\nc\tkept\t\n")
    assert jobs.quality_note(path) == f"chains and targets: 2 kept, 1 dropped, with reasons in {path}"


def test_shards_hold_every_id_once_in_order():
    ids = [f"c{i:03d}" for i in range(23)]
    shards = jobs.shards(ids, 10, "chains")
    assert list(shards) == ["chains0000", "chains0001", "chains0002"]
    assert [id for shard in shards.values() for id in shard] == ids
    assert max(map(len, shards.values())) == 10


def test_library_hash_follows_the_content_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "LIBRARY", tmp_path)
    (tmp_path / "room").mkdir()
    files = {
        "one.py": "from hardfold.room.two import b\nimport json",
        "room/__init__.py": "",
        "room/two.py": "from hardfold import three",
        "three.py": "c = 3",
        "other.py": "d = 4",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    before = jobs.library_hashes("one")
    assert list(before) == ["one", "room.two", "three"]
    (tmp_path / "three.py").write_text("c = 3")
    assert jobs.library_hashes("one") == before
    (tmp_path / "three.py").write_text("c = 4")
    after = jobs.library_hashes("one")
    assert after["three"] != before["three"] and after["one"] == before["one"]
    assert list(jobs.library_hashes("room")) == ["room.__init__", "room.two", "three"]


def test_resources_double_with_the_attempt():
    assert [jobs.memory(500)(None, attempt) for attempt in (1, 2, 3)] == [500, 1000, 2000]
    assert jobs.runtime(10)(None, 2) == 20


def test_progress_yields_all_and_logs_an_estimate(caplog):
    with caplog.at_level(logging.INFO):
        assert list(jobs.progress("abc", 3, "letters", every=0)) == ["a", "b", "c"]
    assert "letters: 1 of 3, about" in caplog.text
    assert "letters: 3 of 3 in" in caplog.text


def test_one_job_has_the_gpu_and_without_one_cores_are_the_limit(tmp_path):
    assert jobs.gpu_slots(tmp_path) == os.cpu_count()
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidia1").touch()
    assert jobs.gpu_slots(tmp_path) == 1

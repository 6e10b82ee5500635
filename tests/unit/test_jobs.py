"""Shards, library hashes, resources and progress."""

import contextlib
import logging
import os
import subprocess
import sys
from collections import Counter

import pytest

from hardfold import jobs


def test_the_quality_control_in_a_line(tmp_path):
    path = tmp_path / "qc.tsv"
    assert jobs.quality_note(path) == ""
    path.write_text("chain\tstatus\treason\na\tkept\t\nb\tdropped\tempty file\nc\tkept\t\n")
    assert jobs.quality_note(path) == f"chains and targets: 2 kept, 1 dropped, with reasons in {path}"


def test_shards_hold_every_id_once_in_order():
    ids = [f"c{i:03d}" for i in range(23)]
    shards = jobs.shards(ids, 10, "chains")
    assert list(shards) == ["chains00/chains0000", "chains00/chains0001", "chains00/chains0002"]
    assert [id for shard in shards.values() for id in shard] == ids
    assert max(map(len, shards.values())) == 10


def test_a_folder_holds_a_hundred_shards():
    names = list(jobs.shards([str(i) for i in range(100_000)], 100, "chains"))
    assert names[0] == "chains00/chains0000" and names[-1] == "chains09/chains0999"
    assert set(Counter(name.split("/")[0] for name in names).values()) == {100}


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


@pytest.mark.parametrize(
    "text",
    [
        "from hardfold import one, two as first  # three",
        "from hardfold import (\n    one,\n    two,\n)",
        "def late():\n    from hardfold.one import a\n    from hardfold.two import (b, c)",
    ],
)
def test_every_form_of_import_counts(tmp_path, monkeypatch, text):
    monkeypatch.setattr(jobs, "LIBRARY", tmp_path)
    for name, source in {"start": text, "one": "", "two": "", "three": ""}.items():
        (tmp_path / f"{name}.py").write_text(source)
    assert list(jobs.library_hashes("start")) == ["one", "start", "two"]


def test_a_module_out_of_a_room_is_not_the_whole_room(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "LIBRARY", tmp_path)
    (tmp_path / "room").mkdir()
    source = "from hardfold.room import one, two as second\n"
    for name, text in {
        "start": source,
        "room/one": "",
        "room/two": "",
        "room/three": "",
        "room/__init__": "x = 1",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert list(jobs.library_hashes("start")) == ["room.one", "room.two", "start"]
    (tmp_path / "start.py").write_text("from hardfold.room import x")
    assert list(jobs.library_hashes("start")) == ["room.__init__", "room.one", "room.three", "room.two", "start"]


@pytest.mark.parametrize("module", ["download", "structure.quality", "dataset"])
def test_what_runs_once_a_shard_starts_without_heavy_imports(module):
    code = f"import hardfold.{module}, sys; print(*{{'pandas', 'scipy', 'torch', 'matplotlib'}} & {{*sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_resources_double_with_the_attempt():
    assert [jobs.memory(500)(None, attempt) for attempt in (1, 2, 3)] == [500, 1000, 2000]
    assert jobs.runtime(10)(None, 2) == 20


def test_progress_yields_all_and_logs_an_estimate(caplog):
    with caplog.at_level(logging.INFO):
        assert list(jobs.progress("abc", 3, "letters", every=0)) == ["a", "b", "c"]
    assert "letters: 1 of 3, about" in caplog.text
    assert "letters: 3 of 3 in" in caplog.text


def test_runtime_grows_with_the_work_and_the_attempt():
    shards = {"small": ["a"], "large": list("abcdefghi")}
    minutes = jobs.runtime(10, 1.5, shards.__getitem__)
    assert [minutes("small", 1), minutes("large", 1), minutes("large", 3)] == [12, 24, 96]


@pytest.mark.parametrize(("chosen", "count"), [("0,1", 2), ("", 0), ("-1", 0), ("1,-1,0", 1)])
def test_gpus_are_those_that_are_chosen(monkeypatch, chosen, count):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert jobs.gpus() == count


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Put so many GPUs into a /dev of the test's own, with no choice made among them."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(count):
        for number in range(count):
            (tmp_path / f"nvidia{number}").touch()
        return tmp_path

    return put


@pytest.mark.parametrize(("count", "slots"), [(0, os.cpu_count()), (1, 1), (3, 3)])
def test_a_job_a_gpu_and_without_one_a_job_a_core(gpus, count, slots):
    assert jobs.gpu_slots(gpus(count)) == slots


@pytest.mark.parametrize(("chosen", "slots"), [("2", 1), ("0,1", 1), ("", os.cpu_count())])
def test_chosen_gpus_belong_to_one_job(gpus, monkeypatch, chosen, slots):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert jobs.gpu_slots(gpus(3)) == slots


def claim(devices, locks, counts):
    """What each of several processes gets, one after the other, all still alive."""
    code = (
        "import os, sys; from hardfold.jobs import claim_gpus; claim_gpus(*map(int, sys.argv[1:2]), *sys.argv[2:]);"
        "print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(jobs.LIBRARY.parent)}
    with contextlib.ExitStack() as alive:
        seen = []
        for count in counts:
            words = [sys.executable, "-c", code, str(count), str(devices), str(locks)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = alive.enter_context(subprocess.Popen(words, env=environment, **pipes))
            seen.append(process.stdout.readline().strip())
        return seen


def test_each_job_gets_a_gpu_of_its_own(gpus):
    folder = gpus(3)
    assert claim(folder, folder, [1, 2]) == ["0", "1,2"]
    # More jobs than GPUs share them evenly; what processes that ended had is free again.
    assert claim(folder, folder, [1] * 5) == ["0", "1", "2", "0", "1"]


def test_a_clusters_choice_and_a_single_gpu_stay(gpus, monkeypatch):
    assert claim(gpus(1), gpus(1), [1]) == ["None"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert claim(gpus(3), gpus(3), [1, 1]) == ["7", "7"]

"""Tables: what is refused, and that files appear whole."""

import os
import re
import signal
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hardfold import tables
from hardfold.tables import TableError


def table(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_missing_column_is_named(tmp_path):
    with pytest.raises(TableError, match="column class is missing; it has target, chain"):
        tables.read(table(tmp_path / "t.tsv", "target\tchain\nT1\t1abc_A\n"), ["target", "class"])


@pytest.mark.parametrize("name", ["none.tsv", "file/none.tsv"])
def test_missing_file_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(TableError, match=r"none\.tsv: (no such file|not a directory)"):
        tables.read(tmp_path / name)


def test_folder_for_a_table_is_told(tmp_path):
    with pytest.raises(TableError, match="is a directory"):
        tables.read(tmp_path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_numbers_are_those_of_the_file(tmp_path, end):
    text = end.join(["# chains of 2020", "", "chain\tsplit", "1abc_A\ttrain", "", "# and this", "2abc_A", "1abc_A\t"])
    path = table(tmp_path / "t.tsv", b"\xef\xbb\xbf" + text.encode())
    found = tables.read(path)
    assert found.index.tolist() == [4, 7, 8] and found["split"].tolist() == ["train", "", ""]
    with pytest.raises(TableError, match="line 8: chain '1abc_A' is empty or stands twice"):
        tables.read(path, key="chain")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a\tb\n1\t2\n1\t2\t3\n", "line 3: 3 fields, but 2 in the header"),
        ("a\tb\ta\n", "a column stands twice"),
        ("", "it is empty"),
        ("# nothing\n\n", "it is empty"),
        ("a\tb\n1\t2\né\t3\n".encode("latin-1"), "line 3: not UTF-8"),
        ("a\tb\n1\t2\n".encode("utf-16"), "line 1: not UTF-8"),
        ('a\tb\n1\t"2\n3\t4\n', "line 2: a field is wrongly quoted"),
        ("<html><body>login</body></html>", "column a is missing"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(tmp_path, content, fault):
    with pytest.raises(TableError, match=fault):
        tables.read(table(tmp_path / "t.tsv", content), ["a"])


def test_empty_fields_at_the_end_of_a_row_may_be_left_out_or_be_too_many(tmp_path):
    found = tables.read(table(tmp_path / "t.tsv", "a\tb\n1\n2\t3\t\t\n"))
    assert found.values.tolist() == [["1", ""], ["2", "3"]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text("ab1_", min_size=1),
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        )
    )
)
def test_what_is_written_reads_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "t.tsv"
    tables.write(path, pd.DataFrame(rows, columns=["id", "text"]), ["id", "text"])
    expected = [[id, re.sub("[\r\n]+", " ", text)] for id, text in rows]
    assert sorted(tables.read(path).values.tolist()) == sorted(expected)


def test_unknown_is_an_empty_field_and_rows_are_sorted(tmp_path):
    tables.write(tmp_path / "t.tsv", [{"id": "b", "x": None}, {"id": "a", "x": 0.5}], ["id", "x"])
    assert (tmp_path / "t.tsv").read_text() == "id\tx\na\t0.5\nb\t\n"


def test_a_table_is_written_alike_from_rows_and_from_pandas(tmp_path):
    rows = [{"id": "b", "n": 7, "x": 1 / 3, "is": True}, {"id": "a", "n": 1234567, "x": np.float32(0.1), "is": False}]
    for name, content in (("rows", rows), ("table", pd.DataFrame(rows))):
        tables.write(tmp_path / name, content, ["id", "x", "n", "is"])
        assert (tmp_path / name).read_text() == "id\tx\tn\tis\na\t0.1\t1234567\tFalse\nb\t0.333333\t7\tTrue\n"
    assert tables.read_rows(tmp_path / "rows") == tables.read(tmp_path / "rows").to_dict("records")


def test_concatenate_keeps_every_row(tmp_path):
    for name, ids in (("one", ["c", "a"]), ("two", ["b"])):
        tables.write(tmp_path / name, pd.DataFrame({"id": ids, "v": ["007"] * len(ids)}), ["id", "v"])
    tables.concatenate([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    assert (tmp_path / "all").read_text() == "id\tv\na\t007\nb\t007\nc\t007\n"


def test_whole_file_leaves_nothing_after_a_fault_and_keeps_the_old_content(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), tables.whole_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_whole_file_has_the_mode_of_any_new_file(tmp_path):
    with tables.whole_file(tmp_path / "file") as temporary:
        temporary.touch(mode=0o600)
    (tmp_path / "plain").touch()
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


KILLED_WRITER = """
import os, signal, sys
from hardfold.tables import whole_file
with whole_file(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_no_file_and_goes_with_the_next(tmp_path):
    path = tmp_path / "file"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", KILLED_WRITER, path], env=environment).returncode == -signal.SIGKILL
    assert not path.exists() and len(list(tmp_path.iterdir())) == 1
    with tables.whole_file(path) as living:
        living.write_text("whole")
        assert list(tmp_path.iterdir()) == [living]
        with tables.whole_file(tmp_path / "file2") as other:  # the name begins like the first
            other.touch()
        subprocess.run([sys.executable, "-c", KILLED_WRITER, path], env=environment)
        assert living.exists()
    assert path.read_text() == "whole"


BYTES = 60_000
WRITERS = {
    "table": lambda path: tables.write(path, [{"id": "a" * BYTES}], ["id"]),
    "json": lambda path: tables.write_json(path, {"key": "a" * BYTES}),
    "figure": lambda path: plt.imsave(path, np.random.default_rng(0).random((BYTES // 200, 100)), format="png"),
    "safetensors": lambda path: save_file({"weight": torch.zeros(BYTES // 4)}, path),
    "checkpoint": lambda path: torch.save({"weight": torch.zeros(BYTES // 4)}, path),
}


@pytest.mark.parametrize("leave", [0, 16384])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing_of_it(small_disk, fill, writer, leave):
    path = small_disk / "file"
    path.write_text("old")
    fill(leave)
    with pytest.raises(Exception) as fault, tables.whole_file(path) as temporary:
        WRITERS[writer](temporary)
    assert f"{path} could not be written (0 MiB are free there)" in fault.value.__notes__
    assert sorted(file.name for file in small_disk.iterdir()) == ["ballast", "file"] and path.read_text() == "old"

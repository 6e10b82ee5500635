"""Tables: what is refused, and that files appear whole."""

import pandas as pd
import pytest

from hardfold import tables
from hardfold.tables import TableError


def write_text(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("chain", ["../etc_A", "1abc", "1ABC_A", "1abc_A;rm", "1abc_", "1abc_ABCDE", "-abc_A"])
def test_chain_ids_that_would_break_a_path_or_a_shell_are_refused(tmp_path, chain):
    path = write_text(tmp_path / "chains.tsv", f"chain\n1abc_A\n{chain}\n")
    with pytest.raises(TableError, match="line 3"):
        tables.read_chains(path)


@pytest.mark.parametrize("target", ["../T1", "T1/D1", "", ".T1", "-T1"])
def test_target_names_that_would_break_a_path_are_refused(tmp_path, target):
    path = write_text(tmp_path / "targets.tsv", f"target\tchain\tclass\n{target}\t1abc_A\thard\n")
    with pytest.raises(TableError):
        tables.read_targets(path)


def test_repeated_chain_is_refused(tmp_path):
    path = write_text(tmp_path / "chains.tsv", "chain\n1abc_A\n1abc_A\n")
    with pytest.raises(TableError, match=r"1abc_A.*twice"):
        tables.read_chains(path)


def test_missing_column_is_named(tmp_path):
    path = write_text(tmp_path / "targets.tsv", "target\tchain\nT1\t1abc_A\n")
    with pytest.raises(TableError, match="column class is missing"):
        tables.read_targets(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(TableError, match=r"none\.tsv: no such file"):
        tables.read(tmp_path / "none.tsv")


def test_unknown_split_is_refused(tmp_path):
    path = write_text(tmp_path / "chains.tsv", "chain\tsplit\n1abc_A\ttraining\n")
    with pytest.raises(TableError, match="'training'"):
        tables.read_chains(path)


def test_chain_named_na_is_text(tmp_path):
    path = write_text(tmp_path / "chains.tsv", "chain\tsplit\n1abc_NA\t\n")
    assert tables.read_chains(path)["chain"].tolist() == ["1abc_NA"]


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("5-120", (5, 120)), ("-3-10", (-3, 10)), ("-9--2", (-9, -2))]
)
def test_ranges(text, expected):
    assert tables.parse_range(text) == expected


@pytest.mark.parametrize("text", ["5", "10-5", "a-b", "5-"])
def test_ranges_that_are_none(text):
    with pytest.raises(TableError):
        tables.parse_range(text)


def test_units():
    assert tables.parse_units("D1:1-154;D2:155-200,210-273") == {"D1": [(1, 154)], "D2": [(155, 200), (210, 273)]}
    with pytest.raises(TableError):
        tables.parse_units("1:1-10")


def test_unknown_is_an_empty_field_and_rows_are_sorted(tmp_path):
    tables.write(tmp_path / "t.tsv", [{"id": "b", "x": None}, {"id": "a", "x": 0.5}], ["id", "x"])
    assert (tmp_path / "t.tsv").read_text() == "id\tx\na\t0.5\nb\t\n"


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

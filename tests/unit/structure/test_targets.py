from dataclasses import replace

import pytest

from hardfold import tables
from hardfold.structure.chain import StructureError, save_chains
from hardfold.structure.parse import read_model
from hardfold.structure.targets import COLUMNS, write_targets


@pytest.fixture
def write(tmp_path, example):
    """Write the targets of a table of these rows (target, chain, class, ... or a dict) of which only T1 was kept."""
    save_chains(tmp_path / "shard.h5", [replace(example, id="T1")])
    header = [
        "target",
        "chain",
        "class",
        "units",
        "unit_classes",
        "round",
        "release_date",
        "in_baseline_training_period",
    ]

    def writer(*rows, cutoff=""):
        lines = ["\t".join(row.get(name, "") for name in header) for row in rows]
        (tmp_path / "targets.tsv").write_text("\n".join(["\t".join(header), *lines, ""]))
        write_targets([tmp_path / "shard.h5"], tmp_path / "targets.tsv", tmp_path / "targets", cutoff)
        return tables.read(tmp_path / "targets/targets.tsv", COLUMNS).set_index(["target", "unit"])

    return writer


TARGET = {"target": "T1", "chain": "1abc_B", "class": "hard"}


def test_targets_are_written_with_their_units_and_numbers(tmp_path, write):
    table = write(TARGET | {"units": "D1:1-4;D2:1-2,4-4", "round": "CASP14"})
    names = ["T1.cif", "numbering.tsv", "targets.tsv", "units.tsv"]
    assert sorted(path.name for path in (tmp_path / "targets").iterdir()) == names
    assert (tmp_path / "targets/units.tsv").read_text() == (
        "target\tunit\tstart\tend\nT1\tD1\t1\t4\nT1\tD2\t1\t2\nT1\tD2\t4\t4\nT1\tchain\t1\t4\n"
    )
    assert (tmp_path / "targets/numbering.tsv").read_text() == (
        "target\tposition\tauth_number\nT1\t1\t-1\nT1\t2\t7\nT1\t3\t\nT1\t4\t9A\n"
    )
    assert read_model(tmp_path / "targets/T1.cif").sequence == "GASK"
    expected = ["hard", "CASP14", "2011-02-01", "", "1abc", "kept", ""]
    assert table.values.tolist() == [expected] * 3


def test_units_have_their_own_class_where_one_is_given(write):
    units = TARGET | {"units": "D1:1-4;D2:1-4"}
    assert write(units)["class"].to_dict() == {("T1", unit): "hard" for unit in ("chain", "D1", "D2")}
    given = write(units | {"unit_classes": "D2:FM"})["class"]
    assert given.to_dict() == {("T1", "chain"): "hard", ("T1", "D1"): "", ("T1", "D2"): "FM"}


@pytest.mark.parametrize(
    ("given", "cutoff", "date", "period"),
    [
        ({}, "", "2011-02-01", ""),
        ({}, "2011-02-02", "2011-02-01", "yes"),
        ({}, "2011-02-01", "2011-02-01", "no"),
        ({"release_date": "2020-05-01"}, "2011-02-02", "2020-05-01", "no"),
        ({"in_baseline_training_period": "no"}, "2011-02-02", "2011-02-01", "no"),
    ],
)
def test_the_training_period_is_the_table_s_or_told_by_the_dates(write, given, cutoff, date, period):
    row = write(TARGET | given, cutoff=cutoff).loc["T1", "chain"]
    assert row[["release_date", "in_baseline_training_period"]].tolist() == [date, period]


def test_units_that_cannot_be_scored_are_dropped_with_the_reason_and_the_others_stay(tmp_path, write):
    table = write(
        TARGET | {"units": "D1:1-3;D2:1-5;D3:1-2,4-4"},
        TARGET | {"target": "T2", "units": "D1:1-9"},
        cutoff="2020-01-01",
    )
    assert table["reason"].to_dict() == {
        ("T1", "D1"): "2 resolved residues, and 3 are needed",
        ("T1", "D2"): "the unit ends at position 5, the target at 4",
        ("T1", "D3"): "",
        ("T1", "chain"): "",
        ("T2", "D1"): "the quality control dropped the target",
        ("T2", "chain"): "the quality control dropped the target",
    }
    assert (table["status"] == "kept").tolist() == (table["reason"] == "").tolist()
    units = tables.read(tmp_path / "targets/units.tsv")
    assert sorted(set(units["unit"])) == ["D3", "chain"] and set(units["target"]) == {"T1"}
    # Nothing is known of a structure that was dropped.
    assert table.loc[("T2", "chain"), ["release_date", "in_baseline_training_period"]].tolist() == ["", ""]


@pytest.mark.parametrize("rows", [[], [TARGET | {"target": "T2"}]])
def test_no_target_left_is_an_error(write, rows):
    with pytest.raises(
        StructureError, match=r"no target is left to score: (it names none|the quality control dropped)"
    ):
        write(*rows)

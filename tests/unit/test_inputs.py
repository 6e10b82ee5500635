"""The lists of chains and targets: every form is read, what cannot be is refused with its place."""

import itertools
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardfold import fields, inputs
from hardfold.tables import TableError


@pytest.fixture
def write(tmp_path):
    """Write a text; its path."""

    def writer(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return writer


@pytest.fixture
def folder(tmp_path):
    """Make a folder of empty files of these names; its path."""

    def maker(*names):
        path = tmp_path / "files"
        path.mkdir()
        for name in names:
            (path / name).touch()
        return path

    return maker


def ids(source):
    return inputs.read_chains(source)["chain"].tolist()


def test_every_form_of_the_list_gives_the_same_chains(write, folder):
    expected = ["1abc", "2abc_A", "2abc_aa"]
    assert ids(write("a.tsv", "chain\n2abc_aa\n1abc\n2abc_A\n")) == expected
    assert ids(write("b.tsv", "entry\tchain\n2abc\tA\n1abc\t\n2abc\t2abc_aa\n")) == expected
    assert ids(write("c.txt", "# three\n2abc_aa\n\n 1abc \r\n2abc_A\n")) == expected
    assert ids(["2abc_A", "2abc_aa", "1abc"]) == expected
    files = folder(
        "pdb1abc.ent.gz", "2ABC_A.pdb", "2abc_aa.CIF", "README.md", "targets.fasta", ".1abc.cif", "._2abc.cif"
    )
    assert ids(files) == expected
    table = inputs.read_chains(files)
    assert table["entry"].tolist() == ["1abc", "2abc", "2abc"]
    assert table["file"].tolist() == [str(files / name) for name in ("pdb1abc.ent.gz", "2ABC_A.pdb", "2abc_aa.CIF")]


def test_entries_of_a_folder_may_have_any_name(folder):
    names = ["1abc-assembly1.mmcif.gz", "T1024.pdb", "pdbx.cif", "pdb12.ent", "AF-P1-F1-model_v4.cif", "x_A.pdb"]
    expected = ["1abc-assembly1", "AF-P1-F1-model-v4", "T1024", "pdb12", "pdbx", "x-A"]
    assert ids(folder(*names)) == expected


@pytest.mark.parametrize("name", ["é.cif", "a b.pdb", "_x.pdb", "-x.cif", "x;rm.cif", "x" * 60 + ".cif"])
def test_files_that_no_id_can_be_made_of_are_named(folder, name):
    with pytest.raises(TableError, match="not named like an entry or a chain") as fault:
        ids(folder("1abc.cif", name))
    assert name in str(fault.value)


def test_a_changed_file_of_a_folder_is_another_record(folder):
    files = folder("1abc.cif")
    none = inputs.read_targets(_empty_targets(files))
    before = inputs.records(inputs.read_chains(files), none)["1abc"]
    (files / "1abc.cif").write_text("data_other\n")
    after = inputs.records(inputs.read_chains(files), none)["1abc"]
    assert before != after and {**before, "stamp": ""} == {**after, "stamp": ""}


def _empty_targets(folder):
    path = folder.parent / "targets.tsv"
    path.write_text("target\tchain\tclass\n")
    return path


def test_two_files_of_one_entry_are_told(folder):
    with pytest.raises(TableError, match=r"pdb1abc\.ent: 1abc stands twice, first at 1abc\.cif"):
        ids(folder("1abc.cif", "pdb1abc.ent"))


@pytest.mark.parametrize(
    "chain", ["../etc_A", "1ABC_A", "1abcA", "1abc_A;rm", "1abc_", "1abc_ABCDE", "-abc_A", "1abc_Ä"]
)
def test_chain_ids_that_would_break_a_path_or_a_shell_are_refused(write, chain):
    path = write("chains.tsv", f"# {chain}\n\nchain\n2abc_A\n{chain}\n")
    with pytest.raises(TableError, match=r"chains\.tsv, line 5: .* is not a chain id such as 1abc_A"):
        ids(path)
    with pytest.raises(TableError, match=r"inputs\.chains, item 2: "):
        ids(["2abc_A", chain])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("chain\n1abc_A\n1abc_A\n", "line 3: 1abc_A stands twice, first at 2"),
        ("chain\n1abc_A\n2abc_A\n1abc\n", "line 2: '1abc_A' is named beside its entry"),
        ("chain\tsplit\n1abc_A\ttraining\n", "line 2: 'training' is not train, validation, test"),
        ("chain\tauth_range\n1abc_A\t5\n", "line 2: '5' is not a range"),
        ("chain\tauth_range\n1abc\t5-9\n", "line 2: '5-9' is a range of no chain in particular"),
        ("entry\tchain\n1abc\t2abc_A\n", "line 2: '2abc_A' is not of the entry beside it"),
        ("entry\tchain\n1ABC\tA\n", "line 2: '1ABC' is not an entry such as 1abc"),
        ("chain\n", "no chain is named"),
        ("split\ntrain\n", "column chain is missing"),
    ],
)
def test_tables_of_chains_that_cannot_be_used(write, text, fault):
    with pytest.raises(TableError, match=fault):
        inputs.read_chains(write("chains.tsv", text))


def test_chain_named_na_is_text(write):
    assert ids(write("chains.tsv", "chain\tsplit\n1abc_NA\t\n")) == ["1abc_NA"]


def test_column_file_of_a_table_is_not_taken_for_a_path(write):
    assert inputs.read_chains(write("chains.tsv", "chain\tfile\n1abc_A\t/etc/passwd\n"))["file"].tolist() == [""]


def test_targets_with_and_without_a_chain(write):
    header = "target\tchain\tclass\tentry\tunits\tunit_classes\n"
    rows = "T1\t1abc_A\tFM\t\tD1:1-9;D2:10-20\tD2:FM/TBM\nT2\t\tFM\t2abc\nT3\t\tFM\n"
    table = inputs.read_targets(write("targets.tsv", header + rows)).set_index("target")
    assert table["chain"].tolist() == ["1abc_A", "", ""] and table["entry"].tolist() == ["1abc", "2abc", ""]
    assert (table[["round", "release_date", "in_baseline_training_period"]] == "").all(axis=None)


def test_a_run_without_targets_is_one(write):
    chains, targets = inputs.read_inputs(["1abc_A"], write("targets.tsv", "target\tchain\tclass\n"))
    assert len(targets) == 0 and list(inputs.records(chains, targets)) == ["1abc_A"]


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("target", "../T1", "is not of letters"),
        ("target", "T1/D1", "is not of letters"),
        ("target", "", "empty or stands twice"),
        ("target", "-T1", "is not of letters"),
        ("chain", "1abc", "is not a chain id"),
        ("class", "all", "means every target"),
        ("class", "", "empty"),
        ("units", "1:1-10", "is not of evaluation units"),
        ("units", "D1:1-10;D1:11-12", "stands twice"),
        ("units", "D1:0-10", "positions from 1 on"),
        ("units", "D1:5-10,", "positions from 1 on"),
        ("unit_classes", "D2:FM", "names what is not among the units"),
        ("unit_classes", "FM", "is not of evaluation units"),
        ("release_date", "2020-02-30", "is not a date"),
        ("release_date", "20200201", "is not a date"),
        ("in_baseline_training_period", "maybe", "is not yes, no or empty"),
        ("auth_range", "9-1", "is not a range"),
    ],
)
def test_targets_that_cannot_be_used(write, column, value, fault):
    row = {"target": "T1", "chain": "1abc_A", "class": "FM", "units": "D1:1-9"} | {column: value}
    path = write("targets.tsv", "\n".join(["# CASP", "\t".join(row), "\t".join(row.values()), ""]))
    with pytest.raises(TableError, match=rf"line 3: .*{fault}"):
        inputs.read_targets(path)


@pytest.mark.parametrize(("chain", "target"), [("1abc_A", "1abc_A"), ("1abc", "1abc_B"), ("1abc", "1abc")])
def test_a_target_never_shares_its_id_with_a_chain_or_what_an_entry_stands_for(write, chain, target):
    targets = write("targets.tsv", f"target\tchain\tclass\n{target}\t1abc_B\thard\n")
    with pytest.raises(TableError, match=f"{target} is a target"):
        inputs.read_inputs([chain], targets)
    inputs.read_inputs(["1abc_A", "2abc"], write("targets.tsv", "target\tchain\tclass\nT1\t1abc_B\thard\n"))


def test_every_record_tells_a_job_what_to_read(write):
    targets = write("targets.tsv", "target\tchain\tclass\tauth_range\nT1\t1abc_B\thard\t5-9\nT2\t\thard\t\n")
    found = inputs.records(*inputs.read_inputs(["1abc_A", "2abc"], targets))
    known = {"auth_range": "", "file": "", "stamp": "", "target": False}
    assert list(found.values()) == [
        {"id": "1abc_A", "entry": "1abc", "chain": "A", **known},
        {"id": "2abc", "entry": "2abc", "chain": "", **known},
        {"id": "T1", "entry": "1abc", "chain": "B", **known, "auth_range": "5-9", "target": True},
        {"id": "T2", "entry": "", "chain": "", **known, "target": True},
    ]


def test_a_hundred_thousand_rows_take_about_a_second(write):
    entries = itertools.product("123", *[string.digits + string.ascii_lowercase] * 3)
    ids = [f"{''.join(entry)}_A" for entry in itertools.islice(entries, 100_000)]
    rows = [f"{id}\t1-{number}" for number, id in enumerate(ids, start=1)]
    path = write("chains.tsv", "\n".join(["chain\tauth_range", *rows, ""]))
    targets = write("targets.tsv", "target\tchain\tclass\n")
    start = time.process_time()
    assert len(inputs.records(*inputs.read_inputs(path, targets))) == 100_000
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("5-120", (5, 120)), ("-3-10", (-3, 10)), ("-9--2", (-9, -2))]
)
def test_ranges(text, expected):
    assert fields.parse_range(text) == expected


@pytest.mark.parametrize("text", ["5", "10-5", "a-b", "5-", "5 - 9", "٥-٩"])
def test_ranges_that_are_none(text):
    with pytest.raises(TableError):
        fields.parse_range(text)


def test_units_and_their_classes():
    assert fields.parse_units("D1:1-154;D2:155-200,210-273") == {"D1": [(1, 154)], "D2": [(155, 200), (210, 273)]}
    assert fields.parse_unit_classes("D2:FM;D3:FM/TBM") == {"D2": "FM", "D3": "FM/TBM"}


@given(st.text("D12:-,;0 \t9é"))
def test_texts_of_units_are_parsed_or_refused(text):
    try:
        units = fields.parse_units(text)
    except TableError:
        return
    assert all(1 <= start <= end for ranges in units.values() for start, end in ranges)


@given(st.lists(st.text("1abc_AB-/. é\t#", min_size=1, max_size=8), min_size=1))
def test_any_list_gives_safe_ids_or_is_refused(source):
    try:
        table = inputs.read_chains(source)
    except TableError:
        return
    assert len(table) == len(source) and all(set(id) <= set("1abc_AB") for id in table["chain"])


def test_published_scores_are_read_or_refused_with_their_line(write):
    header = "target\tunit\tsource\ttm\n"
    table = inputs.read_reference_scores(write("a.tsv", header + "T1\tchain\tservers\t0.5\nT1\tD1\tservers\t1\n"))
    assert table["tm"].to_list() == [0.5, 1.0]
    assert inputs.read_reference_scores("").empty
    for row, fault in {
        "T1\tchain\tservers\t55": "is not a number from 0 to 1",
        "T1\tchain\tservers\t": "is not a number from 0 to 1",
        "T1\tdomain\tservers\t0.5": "neither chain nor D1",
        "T1\tchain\t\t0.5": "is no source",
        "T1\tchain\tservers\t0.5\nT1\tchain\tservers\t0.6": "has two scores",
    }.items():
        with pytest.raises(TableError, match=rf"b.tsv, line [23]: .*{fault}"):
            inputs.read_reference_scores(write("b.tsv", header + row + "\n"))

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up_files import mmcif, residue

from hardfold import tables
from hardfold.structure import quality
from hardfold.structure.chain import StructureError, load_chains
from hardfold.structure.parse import Entry
from hardfold.structure.quality import QC_COLUMNS, drop_reason, extract_shard, read_sequence, unknown_fields

CASP = Path(__file__).resolve().parents[4] / "shared/data/casp"
LIMITS = {
    "min_length": 2,
    "max_length": 10,
    "min_resolved": 0.5,
    "max_resolution": 3.0,
    "methods": ["SOLUTION NMR", "X-RAY DIFFRACTION"],
    "max_nonstandard": 0.4,
}
WHOLE = mmcif([residue(1, "ALA"), residue(2, "CYS")], "ALA CYS ASP", "_exptl.method ?\n")


@pytest.fixture
def extract(tmp_path):
    """Write the files and extract (record, row of the downloads) from them; returns the QC table by chain."""

    def runner(files, *pairs):
        for name, content in files.items():
            path = tmp_path / "raw" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        rows = [{"id": record["id"], "source": "mirror", **row} for record, row in pairs]
        columns = ["id", "file", "numbering", "source", "sequence", "reason"]
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "raw.tsv", sep="\t", index=False)
        extract_shard(
            records=[record for record, _ in pairs], folder=tmp_path / "raw", downloads=tmp_path / "raw.tsv",
            limits=LIMITS, chains=tmp_path / "chains.h5", qc=tmp_path / "qc.tsv",
        )  # fmt: skip
        table = tables.read(tmp_path / "qc.tsv", key="chain").set_index("chain")
        assert list(table.reset_index().columns) == QC_COLUMNS
        kept = load_chains(tmp_path / "chains.h5")
        assert sorted(kept) == sorted(table.index[table["status"] == "kept"])
        return table, kept

    return runner


def record(id, entry="", chain="", auth_range="", target=False):
    return {"id": id, "entry": entry, "chain": chain, "auth_range": auth_range, "file": "", "target": target}


def test_unknown_metadata_are_named_and_drop_nothing(example):
    chain = replace(example, method="", resolution=None, release_date="")
    assert unknown_fields(chain) == ["resolution", "method", "release_date"]
    assert drop_reason(chain, LIMITS) == ""
    assert unknown_fields(replace(example, deposited=False)) == ["sequence"]


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({"min_length": 5}, "length 4 below 5"),
        ({"max_length": 3}, "length 4 above 3"),
        ({"min_resolved": 0.8}, "resolved fraction 0.750 below 0.8"),
        ({"max_resolution": 1.4}, "resolution 1.5 A above 1.4 A"),
        ({"methods": ["EPR", "SOLUTION NMR"]}, "method X-RAY DIFFRACTION is not among EPR, SOLUTION NMR"),
        ({"methods": []}, ""),
        ({"max_nonstandard": 0.2}, "nonstandard fraction 0.250 above 0.2"),
        ({"min_length": 5, "max_resolution": 1.4}, "length 4 below 5; resolution 1.5 A above 1.4 A"),
        ({}, ""),
    ],
)
def test_each_limit_gives_its_reason(example, limit, reason):
    assert drop_reason(example, LIMITS | limit) == reason


def test_one_allowed_method_of_several_is_enough(example):
    chain = replace(example, method="NEUTRON DIFFRACTION; X-RAY DIFFRACTION")
    assert drop_reason(chain, LIMITS) == ""
    assert "is not among SOLUTION NMR" in drop_reason(chain, LIMITS | {"methods": ["SOLUTION NMR"]})


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [([], "no residue is resolved"), ([1], "only CA atoms"), ([1, 4], "no residue with N, CA and C (atoms: CA, CB)")],
)
def test_a_chain_without_a_resolved_residue_fails_whatever_the_limits(example, atoms, reason):
    coordinates = np.full((4, 5, 3), np.nan, np.float32)
    coordinates[:, atoms] = 1
    chain = replace(example, coordinates=coordinates, mask=np.zeros(4, dtype=bool))
    assert drop_reason(chain, LIMITS | {"min_resolved": 0}) == reason


def test_every_record_has_its_row_and_an_entry_one_for_each_chain(extract):
    two = WHOLE + "".join(f"{row.replace(' B ', ' A-long ').replace(' A 1 ', ' C 1 ')}\n" for row in residue(1, "ALA"))
    files = {"1abc.cif": two, "2abc.cif.gz": gzip.compress(WHOLE.encode())[:-9], "3abc.cif": "<html></html>"}
    table, kept = extract(
        files,
        (record("1abc_Z", "1abc", "Z"), {"file": "1abc.cif"}),
        (record("2abc_B", "2abc", "B"), {"file": "2abc.cif.gz"}),
        (record("3abc", "3abc"), {"file": "3abc.cif"}),
        (record("9abc_B", "9abc", "B"), {"reason": "HTTP status 404"}),
        (record("T1", "1abc", "B", "1-1", target=True), {"file": "1abc.cif", "numbering": "author"}),
        (record("T2", "1abc", "B", "1-2", target=True), {"file": "1abc.cif", "numbering": "author"}),
        (record("1abc", "1abc"), {"file": "1abc.cif"}),
    )
    reasons = {
        "1abc_Z": "chain Z is not among",
        "2abc_B": "broken gzip",
        "3abc": "not a readable mmCIF",
        "9abc_B": "HTTP status 404",
        "T1": "length 1 below 2",
        "1abc_A-long": "chain name 'A-long' is not of up to 4 letters and digits",
    }
    assert sorted(table.index) == sorted([*reasons, "1abc_B", "T2"])
    for name, reason in reasons.items():
        assert table.loc[name, "status"] == "dropped" and reason in table.loc[name, "reason"]
    fields = ["label_chain", "source", "status", "reason", "length", "resolved", "resolution"]
    assert table.loc["1abc_B", fields].tolist() == ["A", "mirror", "kept", "", "3", "2", ""]
    assert table.loc["1abc_B", "checks_not_possible"] == "resolution,method,release_date"
    assert kept["1abc_B"].sequence == "ACD" and kept["T2"].sequence == "AC"


def test_an_entry_without_a_protein_keeps_its_row(extract):
    water = mmcif([["HETATM 0 O O . HOH W 2 . ? 5 5 5 1 900 B 1"]])
    table, _ = extract({"1abc.cif": water}, (record("1abc", "1abc"), {"file": "1abc.cif"}))
    assert table["reason"].to_dict() == {"1abc": "no protein chain"}


def test_a_file_is_parsed_once_for_all_its_records(extract, monkeypatch):
    parsed = []

    def counted(path):
        parsed.append(path.name)
        return Entry(path)

    monkeypatch.setattr(quality, "Entry", counted)
    names = [("1abc", "B"), ("2abc", "B"), ("1abc", "Z"), ("2abc", "Z")]
    pairs = [(record(f"{entry}_{name}", entry, name), {"file": f"{entry}.cif"}) for entry, name in names]
    extract({"1abc.cif": WHOLE, "2abc.cif": WHOLE}, *pairs)
    assert sorted(parsed) == ["1abc.cif", "2abc.cif"]


def test_a_native_as_scored_is_numbered_by_position(extract):
    native = mmcif([residue(2, "ALA", auth=52), residue(3, "CYS", auth=53)])
    row = {"file": "T1.cif", "numbering": "position"}
    target = record("T1", "1abc", "Z", "50-90", target=True)
    table, kept = extract({"T1.cif": native}, (target, row))
    assert kept["T1"].sequence == "XAC" and kept["T1"].mask.tolist() == [False, True, True]
    table, kept = extract({"T1.fasta": ">T1\r\ngac\r\nD*\r\n"}, (target, row | {"sequence": "T1.fasta"}))
    assert kept["T1"].sequence == "GACD" and table.loc["T1", ["length", "resolved"]].tolist() == ["4", "2"]
    for sequence in (">T1\nGWC\n", ">T1\nGA\n"):
        table, _ = extract({"T1.fasta": sequence}, (target, row | {"sequence": "T1.fasta"}))
        assert table.loc["T1", "status"] == "dropped" and "residue" in table.loc["T1", "reason"]


@pytest.mark.parametrize("content", [b"", b"GACDE\n", b">T1\n", b">T1\nGA\n>T2\nCD\n", b">T1\nGA-C\n", b">T1\n\xe9\n"])
def test_fasta_files_of_not_one_sequence_are_refused(tmp_path, content):
    (tmp_path / "T1.fasta").write_bytes(content)
    with pytest.raises(StructureError, match=r"T1\.fasta"):
        read_sequence(tmp_path / "T1.fasta")


@pytest.mark.skipif(not CASP.is_dir(), reason="the shared data folder is absent")
@pytest.mark.parametrize(
    ("target", "natives", "sequences", "length", "resolved"),
    [
        ("T1024", "natives_casp14", "fasta_casp14_full", "408", "391"),
        ("T1030", "natives_casp14", "fasta_casp14_full", "273", "273"),
        ("T1033", "natives_casp14", "fasta_casp14_full", "100", "100"),
        ("T0950", "natives_casp13", "fasta_deepdist_casp13", "353", "342"),
        ("T0953s2", "natives_casp13", "fasta_deepdist_casp13", "249", "248"),
    ],
)
def test_casp_targets_have_their_full_length(extract, monkeypatch, target, natives, sequences, length, resolved):
    monkeypatch.setitem(LIMITS, "max_length", 1022)
    names = [CASP / natives / f"{target}.pdb", CASP / sequences / f"{target}.fasta"]
    row = {"file": names[0].name, "numbering": "position", "sequence": names[1].name}
    table, _ = extract({path.name: path.read_bytes() for path in names}, (record(target, target=True), row))
    assert table.loc[target, ["status", "length", "resolved"]].tolist() == ["kept", length, resolved]

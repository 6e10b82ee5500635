"""Bad input, end to end from the lists to the quality control: each a clear row or a clear error, all else finished."""

import errno
import gzip
import os
import subprocess

import pytest
from made_up_files import mmcif, residue

from hardfold import inputs, tables
from hardfold.download import DownloadError, download_shard
from hardfold.structure.chain import load_chains
from hardfold.structure.quality import extract_shard

LIMITS = {
    "min_length": 2,
    "max_length": 1022,
    "min_resolved": 0,
    "max_resolution": 4,
    "methods": [],
    "max_nonstandard": 1,
}
GOOD = mmcif([residue(1, "ALA"), residue(2, "CYS")], "ALA CYS ASP")


def pdb(chain="B", sequence="AC", *, atoms="N CA C O CB", number=1, coordinate="1.000", end="\n", remark=""):
    """A PDB text of one chain without SEQRES; `number`: of the first residue."""
    names = {"A": "ALA", "C": "CYS"}
    rows = [
        f"ATOM  {serial % 99999:5d}  {atom:<3s} {names[letter]} {chain}{number + index:4d}    "
        f"{coordinate:>8s}{index % 999:8.3f}{serial % 999:8.3f}  1.00 20.00           {atom[0]}"
        for index, letter in enumerate(sequence)
        for serial, atom in enumerate(atoms.split(), start=5 * index)
    ]
    return end.join([*([f"REMARK   1 {remark}"] if remark else []), *rows, "TER", ""])


@pytest.fixture
def run(tmp_path):
    """From lists to the QC table by chain, with the structures kept; `work` is where the results go."""

    def runner(chains, targets="", mirror=(), work=tmp_path / "work"):
        table = tmp_path / "targets.tsv"
        table.write_text("target\tchain\tclass\n" + targets)
        records = list(inputs.records(*inputs.read_inputs(chains, table)).values())
        download_shard(
            records=records, mirror=[str(path) for path in mirror], archive="https://archive.invalid",
            cache=work / "cache", offline=True, folder=work / "raw", table=work / "raw.tsv",
        )  # fmt: skip
        extract_shard(
            records=records, folder=work / "raw", downloads=work / "raw.tsv", limits=LIMITS, chains=work / "chains.h5",
            qc=work / "qc.tsv",
        )  # fmt: skip
        assert not list(work.rglob("*.part"))
        assert len(tables.read(work / "raw.tsv", key="id")) == len(records)
        rows, kept = tables.read(work / "qc.tsv", key="chain").set_index("chain"), load_chains(work / "chains.h5")
        # Nothing is lost and nothing made up: a record has its own row, or one for each of its chains.
        ids = {record["id"] for record in records}
        assert {id if id in ids else id.partition("_")[0] for id in rows.index} == ids
        assert sorted(kept) == sorted(rows.index[rows["status"] == "kept"])
        assert (rows["reason"] != "").tolist() == (rows["status"] == "dropped").tolist()
        assert not rows["reason"].str.contains("\n").any()
        return rows, kept

    return runner


@pytest.fixture
def write(tmp_path):
    """Write files of a folder; its path."""

    def writer(files, name="files"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, content in files.items():
            (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return writer


BROKEN = {
    "html.cif": ("<html><body>502 Bad Gateway</body></html>", "not a readable mmCIF"),
    "html.pdb": ("<html><body>502 Bad Gateway</body></html>", "no atoms"),
    "truncated.cif.gz": (gzip.compress(os.urandom(999) + GOOD.encode())[:-20], "broken gzip file"),
    "plain.pdb.gz": (GOOD, "broken gzip file"),
    "empty.cif": ("", "empty file"),
    "empty.pdb.gz": (gzip.compress(b""), "empty file"),
    "header.cif": ("data_x\n_entry.id x\n", "no atoms"),
    "long.pdb": (pdb(sequence="A" * 5000), "length 5000 above 1022"),
    "ca.pdb": (pdb(atoms="CA"), "only CA atoms"),
    "nan.pdb": (pdb(coordinate="nan"), "no residue is resolved"),
    "nan.cif": (GOOD.replace(" 0.0 ", " nan "), "no residue is resolved"),
    "unknown.cif": (GOOD.replace(" 0.0 ", " ? "), "no residue is resolved"),
    "twice.pdb": (pdb().replace("TER\n", "") + pdb(), "stands twice"),
    "water.cif": (mmcif([["HETATM 0 O O . HOH W 2 . ? 5 5 5 1 900 B 1"]]), "no protein chain"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_row_with_its_reason_and_the_other_is_finished(run, write, name):
    content, reason = BROKEN[name]
    rows, kept = run(str(write({name: content, "good.cif": GOOD})))
    assert list(kept) == ["good_B"] and len(rows) == 2
    assert reason in rows["reason"].iloc[1 - rows.index.tolist().index("good_B")]


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace("\n", "\r\n"),
        "# r\N{LATIN SMALL LETTER E WITH ACUTE}sum\N{LATIN SMALL LETTER E WITH ACUTE}\n" + GOOD,
        GOOD.replace("_entry.id TEST", "_entry.id TEST\n_struct.title '\N{GREEK SMALL LETTER ALPHA}-helix'"),
        GOOD.encode() + b"_struct.title 'caf\xe9'\n",
        b"\xef\xbb\xbf" + GOOD.encode(),
    ],
)
def test_other_line_ends_and_letters_do_no_harm(run, write, content):
    _, kept = run(str(write({"1abc.cif": content})))
    assert kept["1abc_B"].sequence == "ACD" and kept["1abc_B"].mask.sum() == 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_pdb_files_with_other_line_ends_and_letters(run, write, end):
    _, kept = run(str(write({"1abc.pdb": pdb(end=end, remark="\N{ANGSTROM SIGN}\N{GREEK SMALL LETTER ALPHA}")})))
    assert kept["1abc_B"].sequence == "AC" and kept["1abc_B"].mask.all()


def test_chains_that_differ_in_case_or_have_two_letters_are_their_own(run, write):
    files = {"1abc.pdb": pdb("A") + pdb("a", "CCC"), "2abc.cif": GOOD.replace(" B 1\n", " Bb 1\n")}
    chains = ["1abc_A", "1abc_a", "1abc_b", "2abc_Bb", "2abc_B"]
    rows, kept = run(chains, mirror=[write(files)])
    assert {id: chain.sequence for id, chain in kept.items()} == {"1abc_A": "AC", "1abc_a": "CCC", "2abc_Bb": "ACD"}
    assert rows.loc["1abc_b", "reason"].startswith("chain b is not among") and rows.loc["1abc_b", "reason"].endswith(
        "A, a"
    )
    assert rows.loc["2abc_B", "reason"].startswith("chain B is not among")


def test_a_chain_of_which_the_file_has_the_sequence_alone(run, write):
    text = GOOD.replace(
        "loop_\n_entity_poly_seq", "loop_\n_struct_asym.id\n_struct_asym.entity_id\nA 1\nC 1\nloop_\n_entity_poly_seq"
    )
    rows, _ = run(["1abc_B", "1abc_C"], mirror=[write({"1abc.cif": text})])
    assert rows["status"].to_dict() == {"1abc_B": "kept", "1abc_C": "dropped"}


def test_no_residue_within_the_range(run, write, tmp_path):
    (tmp_path / "chains.tsv").write_text("chain\tauth_range\n1abc_B\t50-60\n2abc_B\t1-2\n")
    rows, kept = run(tmp_path / "chains.tsv", mirror=[write({"1abc.cif": GOOD, "2abc.cif": GOOD})])
    assert rows.loc["1abc_B", "reason"] == "chain B has no residue numbered 50 to 60" and list(kept) == ["2abc_B"]


def test_all_forms_of_input_end_in_rows(run, write, tmp_path):
    files = write({"1abc.pdb": pdb("A") + pdb("B"), "2abc_B.pdb": pdb(" "), "3abc_B.pdb": pdb(), "bad.cif": "x"})
    rows, _ = run(str(files))
    assert rows["status"].to_dict() == {
        "1abc_A": "kept", "1abc_B": "kept", "2abc_B": "dropped", "3abc_B": "kept", "bad": "dropped",
    }  # fmt: skip
    targets = "T1\t\tFM\nT2\t1abc_A\tFM\nT3\t\tFM\nT4\t9abc_A\tFM\n"
    write({"T1.pdb": pdb(number=3), "T1.fasta": ">T1\nGGAC\n"})
    expected = {"1abc_B": "kept", "T1": "kept", "T2": "kept", "T3": "dropped", "T4": "dropped"}
    (tmp_path / "chains.tsv").write_text("entry\tchain\n1abc\tB\n")
    (tmp_path / "chains.txt").write_text("1abc_B\n")
    for number, chains in enumerate((tmp_path / "chains.tsv", tmp_path / "chains.txt", ["1abc_B"])):
        rows, kept = run(chains, targets, [tmp_path, files], work=tmp_path / str(number))
        assert rows["status"].to_dict() == expected and kept["T1"].sequence == "GGAC"
    rows, _ = run(["1abc", "9zzz"], "T1\t\tFM\n", [files], work=tmp_path / "entries")
    assert rows["status"].to_dict() == {"1abc_A": "kept", "1abc_B": "kept", "9zzz": "dropped", "T1": "kept"}


def test_folders_of_any_name(run, write, tmp_path):
    mirror = write({"1abc.cif": GOOD}, "spiegel \N{LATIN SMALL LETTER U WITH DIAERESIS} \N{SNOWMAN}")
    rows, _ = run(
        ["1abc_B"],
        mirror=[mirror],
        work=tmp_path / "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}",
    )
    assert rows.loc["1abc_B", ["status", "source"]].tolist() == ["kept", str(mirror / "1abc.cif")]


def test_a_mirror_that_is_a_file_is_an_error(run, tmp_path):
    (tmp_path / "mirror").touch()
    with pytest.raises(DownloadError, match="mirror is no folder"):
        run(["1abc_B"], mirror=[tmp_path / "mirror"])
    assert not (tmp_path / "work").exists()


def test_mirror_files_that_are_links(run, write, tmp_path):
    (tmp_path / "elsewhere.cif").write_text(GOOD)
    mirror = write({})
    links = {
        "1abc": tmp_path / "elsewhere.cif",
        "2abc": tmp_path / "none",
        "3abc": "/proc/self/mem",
        "4abc": "/dev/zero",
    }
    for entry, target in links.items():
        (mirror / f"{entry}.cif").symlink_to(target)
    rows, kept = run([f"{entry}_B" for entry in links], mirror=[mirror])
    # A mirror may be a farm of links. What none can read is told.
    assert list(kept) == ["1abc_B"]
    assert rows.loc["3abc_B", "reason"] == "input/output error"
    assert rows.loc[["2abc_B", "4abc_B"], "reason"].str.contains("not in the mirror").all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads and writes everything")
def test_unreadable_file_and_read_only_folder(run, write, tmp_path):
    mirror = write({"1abc.cif": GOOD, "2abc.cif": GOOD})
    (mirror / "1abc.cif").chmod(0)
    rows, kept = run(["1abc_B", "2abc_B"], mirror=[mirror])
    assert rows.loc["1abc_B", "reason"] == "permission denied" and list(kept) == ["2abc_B"]
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(PermissionError, match="locked"):
        run(["2abc_B"], mirror=[mirror], work=tmp_path / "locked")


def test_read_only_disk(run, write, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError) as fault:
        run(["1abc_B"], mirror=[write({"1abc.cif": GOOD})], work=small_disk)
    assert fault.value.errno == errno.EROFS and str(small_disk) in str(fault.value)


@pytest.mark.parametrize("leave", [0, 8192, 16384, 24576])
def test_full_disk(run, write, small_disk, fill, leave):
    mirror = write({"1abc.cif": GOOD + "# filled\n" * 800, "2abc.cif": GOOD})
    fill(leave)
    with pytest.raises(OSError) as fault:
        run(["1abc_B", "2abc_B"], mirror=[mirror], work=small_disk)
    assert fault.value.errno == errno.ENOSPC
    assert any(str(small_disk) in text for text in (str(fault.value), *getattr(fault.value, "__notes__", [])))
    # What stands there is whole.
    for path in small_disk.rglob("*.cif"):
        assert path.read_bytes() == (mirror / path.name).read_bytes()
    assert not list(small_disk.rglob("*.part")) and not (small_disk / "qc.tsv").exists()
    (small_disk / "ballast").unlink()
    _, kept = run(["1abc_B", "2abc_B"], mirror=[mirror], work=small_disk)
    assert list(kept) == ["1abc_B", "2abc_B"]

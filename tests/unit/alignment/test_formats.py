import re
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hardfold.alignment import Alignment, AlignmentError, read_a3m, read_alignment, single_row, write_a3m

SHARED = Path(__file__).resolve().parents[4] / "shared/data/msa"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared alignments are not beside the repository")


def as_rows(*sequences):
    return np.array([list(sequence.encode()) for sequence in sequences], np.uint8)


def written(folder, text, name="query.a3m"):
    path = Path(folder, name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_insertions_comments_and_annotations_are_dropped(tmp_path):
    path = written(tmp_path, "#A3M#\n>ss_pred x\nCCC\n>query of it\nACD\n>hit/2-9\tcolumns\nAk.\r\n-D\n\n")
    found = read_a3m(path, "ACD")
    assert found.names == ("query", "hit/2-9")
    assert found.query == "ACD"
    assert np.array_equal(found.rows, as_rows("ACD", "A-D"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(tmp_path, end):
    text = "\ufeff>query\nAC\nD\n\n>näme\n-\nCD\n".replace("\n", end)
    found = read_a3m(written(tmp_path, text), "ACD")
    assert found.names == ("query", "näme")
    assert np.array_equal(found.rows, as_rows("ACD", "-CD"))


def test_columns_without_a_residue_of_the_query_are_dropped(tmp_path):
    found = read_a3m(written(tmp_path, ">query\nA-CD\n>hit\nAKCD\n"), "ACD")
    assert np.array_equal(found.rows, as_rows("ACD", "ACD"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no sequence"),
        (">query\n", "no sequence"),
        (">query\n---\n", "no sequence"),
        ("ACD\n>query\nACD\n", "line 1: a sequence before"),
        (">query\nACD\n>hit\nAC\n", r"row 1 \(hit\) has 2 columns, the query 3"),
        (">query\nACD\n>hit\nA*D\n", r"row 1 \(hit\): '\*' in column 2"),
        (">query\nACD\n>hit\nAÄD\n", r"row 1 \(hit\): 'Ã' in column 2"),
        (">query\nACE\n", "E at position 3, the chain D"),
        (">query\nACDD\n", "4 residues, the chain 3"),
        (">query\nCD\n", "2 residues, the chain 3; it has C at position 1, the chain A"),
        (b"\x1f\x8b\x08\x00\xff", "line 1: a sequence before"),
    ],
)
def test_faulty_alignments_are_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(AlignmentError, match=message):
        read_a3m(written(tmp_path, text), "ACD")


def test_an_x_of_the_chain_matches_any_letter_and_the_chain_is_stored(tmp_path):
    path = written(tmp_path, ">query\nAMD\n>hit\nAM-\n")
    assert np.array_equal(read_a3m(path, "AXD").rows, as_rows("AXD", "AM-"))
    with pytest.raises(AlignmentError, match="M at position 2, the chain C"):
        read_a3m(path, "ACD")
    with pytest.raises(AlignmentError, match="X at position 2, the chain C"):
        read_a3m(written(tmp_path, ">query\nAXD\n"), "ACD")


def test_stockholm_in_blocks_with_insertions_and_annotations(tmp_path):
    text = """# STOCKHOLM 1.0
#=GF ID demo
#=GS hit/1-4 DE of something

query         A.CD
hit/1-4       AkC.
#=GR hit/1-4 PP 99*.
#=GC RF       x.xx

query         E-
hit/1-4       .G
//
# STOCKHOLM 1.0
other CCC
//
"""
    found = read_alignment(written(tmp_path, text, "a.sto"), "ACDE")
    assert found.names == ("query", "hit/1-4")
    assert np.array_equal(found.rows, as_rows("ACDE", "AC--"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query ACD\n//\n", "does not begin with '# STOCKHOLM'"),
        ("", "does not begin with '# STOCKHOLM'"),
        ("# STOCKHOLM 1.0\nquery ACD\n", "cut short"),
        ("# STOCKHOLM 1.0\nquery ACD\nhit AC\n//\n", r"row 1 \(hit\) has 2 columns, the query 3"),
        ("# STOCKHOLM 1.0\nqueryACD\n//\n", "line 2: not a name and a row"),
        ("# STOCKHOLM 1.0\n//\n", "no sequence"),
    ],
)
def test_faulty_stockholm_is_refused(tmp_path, text, message):
    with pytest.raises(AlignmentError, match=message):
        read_alignment(written(tmp_path, text, "a.sto"), "ACD")


def test_aln_is_a_sequence_a_line_or_clustal(tmp_path):
    rows = as_rows("ACDE", "A-DF")
    plain = read_alignment(written(tmp_path, "ACD-E\r\nA-DGF\n\n", "plain.aln"), "ACDE")
    assert np.array_equal(plain.rows, rows)
    assert plain.names == ("row0", "row1")
    clustal = (
        "CLUSTAL O(1.2.4) multiple sequence alignment\n\nquery ACD 3\nhit   A-D 2\n      *.*\n\nquery E 4\nhit   F 3\n"
    )
    found = read_alignment(written(tmp_path, clustal, "clustal.aln"), "ACDE")
    assert np.array_equal(found.rows, rows)
    assert found.names == ("query", "hit")


def test_a_single_row_is_the_sequence(tmp_path):
    write_a3m(tmp_path / "a.a3m", single_row("ACD"))
    assert (tmp_path / "a.a3m").read_text() == ">query\nACD\n"


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8).filter(
    lambda name: len(name.encode().split()) == 1 and not name.startswith(("ss_", "sa_"))
)


@st.composite
def alignments(draw):
    length, count = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    query = draw(st.text(string.ascii_uppercase, min_size=length, max_size=length))
    others = st.text(string.ascii_uppercase + "-", min_size=length, max_size=length)
    rows = [query, *(draw(others) for _ in range(count - 1))]
    return Alignment(tuple(draw(st.lists(NAMES, min_size=count, max_size=count))), as_rows(*rows))


@settings(max_examples=50, deadline=None)
@given(alignments())
def test_what_is_written_is_read_back(tmp_path_factory, before):
    path = tmp_path_factory.mktemp("a") / "a.a3m"
    write_a3m(path, before)
    after = read_a3m(path, before.query)
    assert after.names == before.names
    assert np.array_equal(after.rows, before.rows)


SOUND = {
    "a3m": b">query\nACD\n>hit/2-9 x\nAkC-\n",
    "sto": b"# STOCKHOLM 1.0\nquery A.CD\nhit/2-9 AkC-\n//\n",
    "aln": b"ACD\nAC-\n",
    "clustal.aln": b"CLUSTAL W\n\nquery ACD 3\nhit AC- 2\n",
}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(SOUND)),
    st.lists(st.tuples(st.integers(0, 45), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4),
)
@example("a3m", [(0, 45, b"")])
def test_random_damage_gives_an_alignment_or_its_error(tmp_path_factory, kind, damage):
    content = SOUND[kind]
    for start, length, new in damage:
        content = content[:start] + new + content[start + length :]
    path = written(tmp_path_factory.mktemp("a"), content, f"x.{kind}")
    try:
        found = read_alignment(path)
    except AlignmentError as fault:
        assert str(path) in str(fault)
    else:
        assert len(found.names) == len(found.rows)
        assert re.fullmatch("[A-Z]+", found.query)
        assert set(found.rows.tobytes()) <= set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-")


@needs_shared
@pytest.mark.parametrize(
    ("name", "rows", "columns"),
    [
        ("deepdist_casp14/DeepMSA_ALN/T1093.aln", 5878, 631),
        ("deepdist_casp14/BFD_ALN/T1031.aln", None, 95),
        ("aprot/casp14_with_bfd/msa_transformer_bfd.div_min/T1046s2.a3m", None, 142),
    ],
)
def test_real_alignments_are_read(name, rows, columns):
    found = read_alignment(SHARED / name)
    assert found.rows.shape == (rows or len(found.names), columns)


@needs_shared
def test_every_real_alignment_is_read():
    for path in sorted(SHARED.glob("*/**/*.a3m")) + sorted(SHARED.glob("*/**/*.aln"))[::7]:
        found = read_alignment(path)
        assert read_alignment(path, found.query).rows.shape == found.rows.shape

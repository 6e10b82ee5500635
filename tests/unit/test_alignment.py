import numpy as np
import pytest

from hardfold import alignment
from hardfold.alignment import Alignment, AlignmentError, neff, read_a3m, select_rows, write_a3m


def as_rows(*sequences):
    return np.array([list(sequence.encode()) for sequence in sequences], np.uint8)


def written(tmp_path, text):
    path = tmp_path / "query.a3m"
    path.write_text(text)
    return path


def test_insertions_comments_and_annotations_are_dropped(tmp_path):
    path = written(tmp_path, "#A3M#\n>ss_pred x\nCCC\n>query of it\nACD\n>hit/2-9\tcolumns\nAk.\r\n-D\n\n")
    found = read_a3m(path, "ACD")
    assert found.names == ("query", "hit/2-9")
    assert found.query == "ACD"
    assert np.array_equal(found.rows, as_rows("ACD", "A-D"))


def test_what_is_written_is_read_back(tmp_path):
    before = Alignment(("q", "h"), as_rows("MKV", "-KX"))
    write_a3m(tmp_path / "a.a3m", before)
    after = read_a3m(tmp_path / "a.a3m")
    assert after.names == before.names
    assert np.array_equal(after.rows, before.rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no sequence"),
        (">query\n", "no sequence"),
        ("ACD\n>query\nACD\n", "line 1: a sequence before"),
        (">query\nACD\n>hit\nAC\n", r"row 1 \(hit\) has 2 match columns, the query has 3"),
        (">query\nACD\n>hit\nA*D\n", r"row 1 \(hit\): '\*' in column 2"),
        (">query\nA-D\n", "gap in column 2"),
        (">query\nACE\n", "E at position 3, the chain D"),
        (">query\nACDD\n", "4 residues, the chain 3"),
    ],
)
def test_faulty_alignments_are_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(AlignmentError, match=message):
        read_a3m(written(tmp_path, text), "ACD")


def test_neff_counts_clusters_at_80_percent():
    # Rows 0 and 1 agree in 4 of 5 columns (0.8), row 2 in 3 of 5 with row 0 and 2 of 5 with row 1.
    assert neff(as_rows("ACDEF", "ACDEG", "ACDHH")) == pytest.approx(1 / 2 + 1 / 2 + 1)
    assert neff(as_rows("ACDEF")) == 1


def test_neff_compares_residues_not_gaps():
    # Two fragments without a shared column are two sequences, whatever the gaps they share.
    assert neff(as_rows("AC------", "--DE----")) == 2
    assert neff(as_rows("ACDE", "ACXX", "----")) == pytest.approx(1 / 2 + 1 / 2 + 1)


def test_neff_is_the_same_in_blocks(monkeypatch):
    rows = np.random.default_rng(1).choice(np.frombuffer(b"AC-", np.uint8), (23, 6))
    whole = neff(rows)
    monkeypatch.setattr(alignment, "_BLOCK", 5)
    assert neff(rows) == pytest.approx(whole)
    similar = [[(a == b)[(a != 45) & (b != 45)] for b in rows] for a in rows]
    alike = np.array([[len(s) and s.mean() >= 0.8 for s in line] for line in similar], bool) | np.eye(23, dtype=bool)
    assert whole == pytest.approx((1 / alike.sum(1)).sum())


def test_rows_are_chosen_by_diversity_ties_from_the_top():
    rows = as_rows("AAAA", "AAAC", "CCCC", "CCCC", "AACC")
    # Farthest from the query is row 2 (before its twin); then mean distances are 1: (1+3)/2, 3: (4+0)/2, 4: (2+2)/2.
    assert select_rows(rows, 1).tolist() == [0]
    assert select_rows(rows, 3).tolist() == [0, 2, 1]
    assert sorted(select_rows(rows, 9).tolist()) == [0, 1, 2, 3, 4]
    assert select_rows(rows, 3).tolist() == select_rows(rows, 5).tolist()[:3]

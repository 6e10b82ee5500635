import shutil

import numpy as np
import pytest

from hardfold.alignment import choose_rows, diversity, neff


def as_rows(*sequences):
    return np.array([list(sequence.encode()) for sequence in sequences], np.uint8)


def random_rows(count, length, letters=b"ACDEFGHIKLMNPQRSTVWYXZ-", seed=1):
    return np.random.default_rng(seed).choice(np.frombuffer(letters, np.uint8), (count, length))


def test_neff_counts_clusters_at_80_percent():
    # Rows 0 and 1 agree in 4 of 5 columns (0.8), row 2 in 3 of 5 with row 0 and 2 of 5 with row 1.
    assert neff(as_rows("ACDEF", "ACDEG", "ACDHH")) == pytest.approx(1 / 2 + 1 / 2 + 1)
    assert neff(as_rows("ACDEF")) == 1


def test_neff_compares_residues_not_gaps():
    # Two fragments without a shared column are two sequences, whatever the gaps they share.
    assert neff(as_rows("AC------", "--DE----")) == 2
    assert neff(as_rows("ACDE", "ACXX", "----")) == pytest.approx(1 / 2 + 1 / 2 + 1)


@pytest.mark.parametrize("length", [6, 64, 65, 200])
def test_neff_is_the_sum_over_all_pairs_also_in_blocks(monkeypatch, length):
    rows = random_rows(23, length, b"AC-X")
    rows[5:9] = rows[4]
    whole = neff(rows, 0.6)
    monkeypatch.setattr(diversity, "_BLOCK", (5, 8))
    assert neff(rows, 0.6) == pytest.approx(whole)
    similar = [[(a == b)[(a != 45) & (b != 45) & (a != 88) & (b != 88)] for b in rows] for a in rows]
    alike = np.array([[len(s) and s.mean() >= 0.6 for s in line] for line in similar], bool) | np.eye(23, dtype=bool)
    assert whole == pytest.approx((1 / alike.sum(1)).sum())


def test_rows_are_chosen_by_diversity_ties_from_the_top():
    rows = as_rows("AAAA", "AAAC", "CCCC", "CCCC", "AACC")
    # Farthest from the query is row 2 (before its twin); then mean distances are 1: (1+3)/2, 3: (4+0)/2, 4: (2+2)/2.
    assert choose_rows(rows, 1).tolist() == [0]
    assert choose_rows(rows, 3).tolist() == [0, 2, 1]
    assert sorted(choose_rows(rows, 9).tolist()) == [0, 1, 2, 3, 4]
    assert choose_rows(rows, 3).tolist() == choose_rows(rows, 5).tolist()[:3]


def test_diversity_tells_every_letter_and_the_gap_apart():
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
    rows = random_rows(40, 130, letters)
    chosen = [0]
    while len(chosen) < 40:
        distance = (rows[:, None] != rows[chosen]).sum((1, 2))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    assert choose_rows(rows, 40).tolist() == chosen


def test_top_takes_the_first_rows_and_other_names_are_refused():
    assert choose_rows(random_rows(5, 3), 3, "top").tolist() == [0, 1, 2]
    assert choose_rows(random_rows(2, 3), 3, "top").tolist() == [0, 1]
    with pytest.raises(ValueError, match="'best' is not diverse"):
        choose_rows(random_rows(2, 3), 3, "best")


@pytest.mark.skipif(not shutil.which("hhfilter"), reason="needs HH-suite")
def test_hhfilter_keeps_the_query_and_drops_near_copies():
    rows = random_rows(60, 80, b"ACDEFGHIKLMNPQRSTVWY")
    rows = np.where(np.random.default_rng(2).random(rows.shape) < 0.5, rows[0], rows)  # homologues of row 0
    rows[30:] = rows[:30]
    rows[30:, 0] = rows[(np.arange(30) + 1) % 30, 0]  # near copies of the first 30
    chosen = choose_rows(rows, 10, "hhfilter")
    assert chosen[0] == 0
    assert len(set(chosen)) == len(chosen) == 10
    everything = choose_rows(rows, 60, "hhfilter")
    assert len(everything) == 30
    assert len({int(index) % 30 for index in everything}) == 30


def test_neff_bands_begin_where_they_say():
    assert [diversity.neff_band(neff) for neff in (1, 9.99, 10, 29.9, 30, 100, 5000)] == [
        *("<10", "<10", "10-30", "10-30", "30-100", ">=100", ">=100")
    ]

import numpy as np
import pytest

from hardfold.alignment import log_odds, profile


def rows(*sequences):
    return np.array([list(sequence.encode()) for sequence in sequences], np.uint8)


def test_a_profile_is_the_share_of_each_residue_and_of_gaps():
    counted = profile(rows("ACDY", "WCEX", "KC-Y"))
    assert counted.shape == (4, 21) and counted.dtype == np.float32
    assert counted.sum(1) == pytest.approx(1)
    expected = {(0, 0): 1 / 3, (0, 18): 1 / 3, (0, 8): 1 / 3, (1, 1): 1.0, (2, 2): 1 / 3, (2, 3): 1 / 3, (2, 20): 1 / 3}
    expected |= {(3, 19): 2 / 3, (3, 20): 1 / 3}  # X counts with the gaps
    assert {place: float(counted[place]) for place in zip(*np.nonzero(counted), strict=True)} == pytest.approx(expected)


def test_copies_of_a_row_weigh_as_one():
    assert profile(rows("AAAAA", "CCCCC")) == pytest.approx(profile(rows("AAAAA", "CCCCC", "CCCCC", "CCCCC")))


def test_log_odds_are_zero_where_a_residue_is_as_frequent_as_any():
    shares = np.full((2, 21), 0.05, np.float32)
    shares[:, 20] = 0
    shares[1, :20] = 0
    shares[1, 3], shares[1, 20] = 0.5, 0.5
    odds = log_odds(shares)
    assert odds[0] == pytest.approx(0, abs=1e-6)
    assert odds[1, 3] == pytest.approx(np.log2(9.1)) and odds[1, 4] == pytest.approx(np.log2(0.1))
    assert odds[1, 20] == 0.5 and odds.dtype == np.float32

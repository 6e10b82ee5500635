import numpy as np
import pytest

from hardfold.alignment import profile


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

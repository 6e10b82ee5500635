import numpy as np
import pytest

from hardfold.structure.chain import Chain


@pytest.fixture
def example():
    """GASK with an unresolved S, a built CB and known metadata."""
    coordinates = np.random.default_rng(0).uniform(-99, 99, (4, 5, 3)).round(3)
    coordinates[2], coordinates[1, 4], coordinates[0, 4] = np.nan, np.nan, np.nan
    return Chain.from_atoms(
        "1abc_B", "GASK", coordinates, auth_numbers=("-1", "7", "", "9A"), label_chain="A", method="X-RAY DIFFRACTION",
        resolution=1.5, release_date="2011-02-01", nonstandard=1, modified=("2:MAA",),
    )  # fmt: skip

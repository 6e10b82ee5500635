import warnings
from dataclasses import replace

import numpy as np

from hardfold.structure.chain import Chain, load_chains, save_chains


def test_saved_chains_load_back_equal_and_bytes_repeat(tmp_path, example):
    unknown = replace(example, id="2abc_A", resolution=None, method="", deposited=False)
    for name in ("a.h5", "b.h5"):
        save_chains(tmp_path / name, [example, unknown])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    loaded = load_chains(tmp_path / "a.h5")
    assert list(loaded) == ["1abc_B", "2abc_A"]
    for chain in (example, unknown):
        for name in Chain.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(loaded[chain.id], name), getattr(chain, name))


def test_an_atom_with_one_coordinate_that_is_not_finite_is_absent():
    coordinates = np.arange(45.0).reshape(3, 5, 3) ** 1.1
    coordinates[0, 4, 0], coordinates[1, 1, 2], coordinates[2, 3] = np.inf, np.nan, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain = Chain.from_atoms("x", "AAA", coordinates)
    assert chain.mask.tolist() == [True, False, True] and chain.virtual_cb.tolist() == [True, False, False]
    absent = np.isnan(chain.coordinates)
    assert np.argwhere(absent.any(axis=2)).tolist() == np.argwhere(absent.all(axis=2)).tolist() == [[1, 1], [2, 3]]


def test_a_residue_whose_atoms_coincide_still_has_a_cb():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain = Chain.from_atoms("x", "A", np.pad(np.ones((1, 4, 3)), ((0, 0), (0, 1), (0, 0)), constant_values=np.nan))
    assert chain.mask.all() and chain.coordinates[0, 4].tolist() == [1, 1, 1]

import numpy as np
import torch

from hardfold.batches import window_starts
from hardfold.contact.windows import cut, stitch, stitched


def window(start, size, values):
    """The part of whole maps (contact, distance (L, L), angle (L, 2)) that a window sees."""
    part = slice(start, start + size)
    return start, {name: array[part] if name == "angle" else array[part, part] for name, array in values.items()}


def whole_maps(length):
    generator = np.random.default_rng(0)
    return {
        "contact": generator.random((length, length), np.float32),
        "distance": generator.random((length, length), np.float32) * 20,
        "angle": generator.uniform(-np.pi, np.pi, (length, 2)).astype(np.float32),
    }


def test_windows_of_one_map_give_it_back_and_what_none_sees_is_nan():
    values, length, size = whole_maps(50), 50, 20
    starts = window_starts(length, size, 8)
    whole, unseen = stitch(length, [window(start, size, values) for start in starts])
    i, j = np.indices((length, length))
    seen = np.any([(i >= s) & (j >= s) & (i < s + size) & (j < s + size) for s in starts], axis=0)
    for name in ("contact", "distance"):
        assert np.array_equal(np.isnan(whole[name]), ~seen)
        np.testing.assert_allclose(whole[name][seen], values[name][seen], rtol=1e-6)
    np.testing.assert_allclose(whole["angle"], values["angle"], atol=1e-6)
    assert unseen == np.count_nonzero(~seen & (i < j)) > 0


def test_overlaps_are_averaged_and_angles_by_their_direction():
    first = {"contact": np.full((3, 3), 0.2), "angle": np.full((3, 2), np.pi - 0.1)}
    second = {"contact": np.full((3, 3), 0.6), "angle": np.full((3, 2), -np.pi + 0.3)}
    whole, unseen = stitch(4, [(0, first), (1, second)])
    assert whole["contact"][0, 1] == np.float32(0.2) and whole["contact"][3, 3] == np.float32(0.6)
    np.testing.assert_allclose(whole["contact"][1:3, 1:3], 0.4)
    np.testing.assert_allclose(whole["angle"][1], -np.pi + 0.1, atol=1e-6)
    assert np.isnan(whole["contact"][0, 3]) and unseen == 1


def test_residues_after_a_truncated_chain_are_unknown():
    whole, unseen = stitch(6, [window(0, 4, whole_maps(6))])
    assert np.isnan(whole["angle"][4:]).all() and np.isfinite(whole["angle"][:4]).all()
    assert unseen == 6 * 5 / 2 - 4 * 3 / 2


def test_chains_come_apart_in_the_loaders_order():
    values = {"a": whole_maps(12), "b": whole_maps(7)}
    windows = [("b", *window(0, 7, values["b"]))] + [("a", *window(s, 8, values["a"])) for s in (0, 4)]
    found = list(stitched(windows, {"a": 12, "b": 7}))
    assert [(chain, unseen) for chain, _, unseen in found] == [("b", 0), ("a", 4 * 4)]
    np.testing.assert_array_equal(found[0][1]["contact"], values["b"]["contact"])


def test_a_batchs_predictions_are_cut_to_their_residues():
    batch = {"ids": ["a", "b"], "starts": [0, 5], "mask": torch.tensor([[True] * 4, [True, True, False, False]])}
    predicted = {"contact": torch.rand(2, 4, 4, requires_grad=True), "angle": torch.rand(2, 4, 2)}
    (_, _, first), (chain, start, second) = cut(predicted, batch)
    assert (chain, start) == ("b", 5)
    assert first["contact"].shape == (4, 4) and second["contact"].shape == (2, 2) and second["angle"].shape == (2, 2)
    assert np.array_equal(second["contact"], predicted["contact"][1, :2, :2].detach().numpy())

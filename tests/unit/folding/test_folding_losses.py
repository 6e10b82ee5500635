import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hardfold.folding import losses
from hardfold.geometry import virtual_cb


def backbone(length=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.cumsum(2.2 * torch.randn(1, length, 1, 3, generator=generator), dim=1)
    return (
        alpha
        + torch.tensor([[-0.5, 1.4, 0.0], [0.0, 0.0, 0.0], [1.5, 0.0, 0.0]])
        + 0.2 * torch.randn(1, length, 3, 3, generator=generator)
    )


def moved(coordinates):
    turn = torch.tensor(Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix(), dtype=torch.float32)
    return coordinates @ turn.T + torch.tensor([3.0, -20.0, 7.0])


def fape(predicted, true, mask=None, **options):
    mask = torch.ones(true.shape[:2], dtype=torch.bool) if mask is None else mask
    frames, true_frames = losses.frames_from_coordinates(predicted), losses.frames_from_coordinates(true)
    return losses.fape(*frames, *true_frames, mask, **options)


def test_frames_are_those_of_algorithm_21():
    coordinates = torch.tensor([[[[0.0, 2, 5], [0, 0, 5], [1.5, 0, 5]]]])  # CA at (0, 0, 5), C along x, N along y
    rotations, translations = losses.frames_from_coordinates(coordinates)
    assert torch.equal(rotations[0, 0], torch.eye(3))
    assert translations[0, 0].tolist() == [0, 0, 5]
    rotations, _ = losses.frames_from_coordinates(backbone())
    assert torch.allclose(rotations.transpose(-1, -2) @ rotations, torch.eye(3).expand(1, 12, 3, 3), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(1, 12))


def test_quaternions_become_the_same_rotations_as_scipys():
    wxyz = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    frames = torch.cat([wxyz, torch.arange(15.0).reshape(5, 3)], dim=1)
    rotations, translations = losses.frames_from_output(frames)
    expected = Rotation.from_quat(wxyz.numpy(), scalar_first=True).as_matrix()
    assert np.allclose(rotations.numpy(), expected, atol=1e-6)
    assert torch.equal(translations, frames[:, 4:])


def test_frames_of_the_model_are_those_of_its_atoms(tiny):
    from hardfold.folding.model import encode

    aatype, mask, residue_index = encode(["ACDEFGHIKLMNPQRSTVWY"])
    output = tiny(aatype, attention_mask=mask, position_ids=residue_index, num_recycles=0)
    rotations, translations = losses.frames_from_output(output.frames)
    from_atoms = losses.frames_from_coordinates(output.positions)
    assert translations.abs().max() > 1
    assert torch.allclose(rotations, from_atoms[0], atol=1e-5)
    assert torch.allclose(translations, from_atoms[1], atol=1e-5)


def test_fape_of_a_copy_is_the_floor_in_any_pose():
    true = backbone()
    assert fape(true, true).item() == pytest.approx(0.001, abs=1e-6)
    assert fape(moved(true), true).item() == pytest.approx(0.001, abs=1e-4)
    predicted = backbone(seed=1)
    assert fape(moved(predicted), moved(true)).item() == pytest.approx(fape(predicted, true).item(), abs=1e-5)


def test_fape_sees_chirality():
    true = backbone()
    assert fape(true * torch.tensor([-1.0, 1, 1]), true).item() > 0.3


def test_fape_of_two_residues_by_hand():
    true = torch.tensor([[[[0.0, 1, 0], [0, 0, 0], [1, 0, 0]], [[4.0, 1, 0], [4, 0, 0], [5, 0, 0]]]])
    for shift, clamped, expected in [(3, 1.0, 0.15), (30, 1.0, 0.5), (30, 0.0, 1.5), (30, 0.9, 0.6)]:
        predicted = true.clone()
        predicted[0, 1, :, 1] += shift
        # Of four pairs the two between the residues are off by `shift`; 10 angstrom are 1.
        assert fape(predicted, true, clamped=clamped).item() == pytest.approx(expected, abs=1e-3)


def test_masked_residues_have_no_effect_on_any_loss():
    true, predicted = backbone(), backbone(seed=1)
    mask = torch.ones(1, 12, dtype=torch.bool)
    mask[0, 4:6] = False
    spoilt = true.clone()
    spoilt[0, 4] = torch.nan
    spoilt[0, 5] = 1e6
    alpha, spoilt_alpha = true[:, :, 1], spoilt[:, :, 1]
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(1, 12, 12, 64, generator=generator)
    bins = torch.randn(1, 12, 50, generator=generator)
    assert torch.equal(fape(predicted, true, mask), fape(predicted, spoilt, mask))
    assert torch.equal(losses.distogram_loss(logits, alpha, mask), losses.distogram_loss(logits, spoilt_alpha, mask))
    lddt = losses.lddt_ca(predicted[:, :, 1], alpha, mask)
    assert torch.equal(lddt, losses.lddt_ca(predicted[:, :, 1], spoilt_alpha, mask))
    assert (lddt[0, 4:6] == 0).all()
    other = torch.where(mask, lddt, torch.ones(()))
    assert torch.equal(losses.confidence_loss(bins, lddt, mask), losses.confidence_loss(bins, other, mask))


def test_masking_equals_leaving_out():
    true, predicted = backbone(), backbone(seed=1)
    mask = torch.ones(1, 12, dtype=torch.bool)
    mask[0, 8:] = False
    assert fape(predicted, true, mask).item() == pytest.approx(fape(predicted[:, :8], true[:, :8]).item(), rel=1e-5)


def test_nothing_resolved_gives_zero_and_no_nan():
    true, mask = torch.full((1, 12, 3, 3), torch.nan), torch.zeros(1, 12, dtype=torch.bool)
    predicted = backbone().requires_grad_()
    loss = fape(predicted, true, mask)
    loss.sum().backward()
    assert loss.item() == 0
    assert predicted.grad.abs().max() == 0
    assert losses.distogram_loss(torch.zeros(1, 12, 12, 64), true[:, :, 1], mask).item() == 0
    assert losses.confidence_loss(torch.zeros(1, 12, 50), torch.zeros(1, 12), mask).item() == 0


def test_gradients_are_finite_where_points_coincide():
    true = backbone()
    rotations = torch.eye(3).expand(1, 12, 3, 3).clone().requires_grad_()
    points = torch.zeros(1, 12, 3, requires_grad=True)
    true_frames = losses.frames_from_coordinates(true)
    losses.fape(rotations, points, *true_frames, torch.ones(1, 12), clamped=0.5).sum().backward()
    assert points.grad.isfinite().all() and points.grad.abs().max() > 0
    exact = true_frames[1].clone().requires_grad_()
    losses.fape(true_frames[0], exact, *true_frames, torch.ones(1, 12)).sum().backward()
    assert exact.grad.isfinite().all()


def test_only_unclamped_error_pulls_distant_points():
    true = backbone()
    rotations, points = losses.frames_from_coordinates(true)
    far = (points + 100 * torch.arange(12.0)[:, None]).requires_grad_()
    losses.fape(rotations, far, rotations, points, torch.ones(1, 12), clamped=1.0).sum().backward()
    assert far.grad.abs().max() == 0
    losses.fape(rotations, far, rotations, points, torch.ones(1, 12), clamped=0.9).sum().backward()
    assert far.grad.abs().max() > 0


def test_fape_keeps_blocks_apart():
    true = losses.frames_from_coordinates(backbone())
    other = losses.frames_from_coordinates(backbone(seed=1))
    stacked = [torch.stack(pair) for pair in zip(true, other, strict=True)]
    both = losses.fape(*stacked, *true, torch.ones(1, 12))
    assert both.shape == (2, 1)
    assert both[0] < 0.01 < both[1]


@pytest.mark.parametrize(("distance", "expected"), [(0.5, 0), (2.4, 1), (2.7, 2), (21.6, 62), (50.0, 63)])
def test_distances_fall_into_the_bins_of_the_distogram(distance, expected):
    points = torch.tensor([[[0.0, 0, 0], [distance, 0, 0]]])
    logits = torch.full((1, 2, 2, 64), -100.0)
    logits[0, [0, 1], [1, 0], expected] = 100.0
    logits[0, [0, 1], [0, 1], 0] = 100.0
    assert losses.distogram_loss(logits, points, torch.ones(1, 2)).item() == pytest.approx(0, abs=1e-6)


def test_a_uniform_prediction_costs_the_logarithm_of_the_bins():
    points, mask = backbone()[:, :, 1], torch.ones(1, 12)
    assert losses.distogram_loss(torch.zeros(1, 12, 12, 64), points, mask).item() == pytest.approx(np.log(64), rel=1e-5)
    assert losses.confidence_loss(torch.zeros(1, 12, 50), mask, mask).item() == pytest.approx(np.log(50), rel=1e-5)


def test_confidence_wants_the_measured_bin():
    lddt = torch.tensor([[0.0, 0.019, 0.02, 0.99, 1.0]])
    logits = torch.full((1, 5, 50), -100.0)
    logits[0, range(5), [0, 0, 1, 49, 49]] = 100.0
    assert losses.confidence_loss(logits, lddt, torch.ones(1, 5)).item() == pytest.approx(0, abs=1e-6)


def test_lddt_by_hand():
    true = torch.tensor([[[0.0, 0, 0], [4, 0, 0], [8, 0, 0], [100, 0, 0]]])
    predicted = torch.tensor([[[0.0, 0, 0], [4, 0, 0], [9, 0, 0], [0, 50, 0]]])
    # Distances 0-1 kept, 0-2 and 1-2 off by 1 (kept within 2 and 4 alone), none below 15 for the last.
    assert losses.lddt_ca(predicted, true, torch.ones(1, 4)).tolist() == [[0.75, 0.75, 0.5, 0.0]]


def test_a_structure_is_its_own_best_prediction_and_its_mirror_image_the_same_to_lddt():
    true = backbone()[:, :, 1]
    mask = torch.ones(1, 12, dtype=torch.bool)
    assert (losses.lddt_ca(moved(true), true, mask) == 1).all()
    assert (losses.lddt_ca(-true, true, mask) == 1).all()  # distances alone: chirality is for FAPE to see


def test_distances_do_not_depend_on_the_pose():
    logits, points = torch.randn(1, 12, 12, 64, generator=torch.Generator().manual_seed(3)), backbone()[:, :, 1]
    mask = torch.ones(1, 12)
    first, second = (losses.distogram_loss(logits, place, mask).item() for place in (points, moved(points)))
    assert first == pytest.approx(second, rel=1e-5)


def test_blocks_count_as_weighted():
    values = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    assert losses.weighted_blocks(values).tolist() == [3, 30]
    assert losses.weighted_blocks(values, [1, 0, 3]).tolist() == [4.75, 47.5]
    with pytest.raises(ValueError, match=r"losses\.fape_blocks: 2 weights, but the structure module has 3"):
        losses.weighted_blocks(values, [1, 1])


# The same from their definitions, one residue or pair at a time, in float64.
def reference_frame(residue):
    n, ca, c = residue.astype(np.float64)
    e1 = (c - ca) / np.linalg.norm(c - ca)
    u2 = (n - ca) - e1 * np.dot(e1, n - ca)
    e2 = u2 / np.linalg.norm(u2)
    return np.array([e1, e2, np.cross(e1, e2)]), ca  # rows: the axes


def reference_fape(predicted, true, keep, clamped):
    errors = []
    for i in np.flatnonzero(keep):
        axes, origin = reference_frame(predicted[i])
        true_axes, true_origin = reference_frame(true[i])
        for j in np.flatnonzero(keep):
            local = axes @ (predicted[j, 1].astype(np.float64) - origin)
            true_local = true_axes @ (true[j, 1].astype(np.float64) - true_origin)
            error = np.sqrt(np.sum((local - true_local) ** 2) + 1e-4)
            errors.append(clamped * min(error, 10) + (1 - clamped) * error)
    return np.mean(errors) / 10


def reference_cross_entropy(logits, bin):
    logits = logits.astype(np.float64)
    return np.log(np.sum(np.exp(logits))) - logits[bin]


def reference_distogram(logits, points, keep):
    width = (21.6875 - 2.3125) / 62
    costs = []
    for i in np.flatnonzero(keep):
        for j in np.flatnonzero(keep):
            distance = np.linalg.norm(points[i].astype(np.float64) - points[j])
            costs.append(
                reference_cross_entropy(logits[i, j], int(np.clip(np.ceil((distance - 2.3125) / width), 0, 63)))
            )
    return np.mean(costs)


def reference_lddt(points, true, keep):
    points, true, scores = points.astype(np.float64), true.astype(np.float64), np.zeros(len(true))
    for i in np.flatnonzero(keep):
        kept = []
        for j in np.flatnonzero(keep):
            distance = np.linalg.norm(true[i] - true[j])
            if i != j and distance < 15:
                error = abs(np.linalg.norm(points[i] - points[j]) - distance)
                kept += [error < threshold for threshold in (0.5, 1, 2, 4)]
        scores[i] = np.mean(kept) if kept else 0
    return scores


def reference_confidence(logits, lddt, keep):
    bins = [min(int(value * 50), 49) for value in lddt]
    return np.mean([reference_cross_entropy(logits[i], bins[i]) for i in np.flatnonzero(keep)])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clamped", [1.0, 0.9, 0.0])
def test_losses_equal_an_independent_computation(seed, clamped):
    generator = np.random.default_rng(seed)
    true, predicted = backbone(20, seed), backbone(20, seed + 10)
    mask = torch.from_numpy(generator.random((1, 20)) < 0.8)
    keep, alpha, true_alpha = mask[0].numpy(), predicted[:, :, 1], true[:, :, 1]
    arrays = [tensor[0].numpy() for tensor in (predicted, true)]
    assert fape(predicted, true, mask, clamped=clamped).item() == pytest.approx(
        reference_fape(*arrays, keep, clamped), rel=1e-5
    )
    logits = torch.from_numpy(generator.normal(size=(1, 20, 20, 64)).astype(np.float32))
    assert losses.distogram_loss(logits, true_alpha, mask).item() == pytest.approx(
        reference_distogram(logits[0].numpy(), true_alpha[0].numpy(), keep), rel=1e-5
    )
    lddt = losses.lddt_ca(alpha, true_alpha, mask)
    assert lddt[0].numpy() == pytest.approx(reference_lddt(alpha[0].numpy(), true_alpha[0].numpy(), keep), abs=1e-6)
    logits = torch.from_numpy(generator.normal(size=(1, 20, 50)).astype(np.float32))
    assert losses.confidence_loss(logits, lddt, mask).item() == pytest.approx(
        reference_confidence(logits[0].numpy(), lddt[0].numpy(), keep), rel=1e-5
    )


def test_map_atoms_are_cb_or_ca_where_there_is_none():
    coordinates = torch.arange(30.0).reshape(1, 2, 5, 3)
    coordinates[0, 1, 4] = torch.nan
    assert torch.equal(
        losses.representative_atoms(coordinates)[0], torch.stack([coordinates[0, 0, 4], coordinates[0, 1, 1]])
    )


def test_the_model_places_cb_where_geometry_does(tiny):
    from hardfold.folding.predict import fold_sequence

    coordinates, _ = fold_sequence(tiny, "ACDEF", 0)
    assert np.abs(virtual_cb(coordinates) - coordinates[:, 4]).max() < 0.1

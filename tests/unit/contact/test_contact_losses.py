import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from hardfold.contact.losses import all_losses, angle_loss, contact_loss, distance_loss, focal_loss, mean, weighted

BCE = {"contact_loss_type": "bce", "positive_weight": 5.0}
FOCAL = {"contact_loss_type": "focal", "focal_gamma": 2.0, "focal_alpha": 0.25}
DISTANCE_KINDS, ANGLE_KINDS = ["mse", "smooth_l1", "cross_entropy"], ["mse", "cosine", "cross_entropy"]


def value(part):
    return mean(*part).item()


def contact_case(length=8):
    return torch.zeros(2, 1, length, length), torch.zeros(2, length, length, dtype=torch.uint8)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_contact_loss_weighs_contacts_and_counts_separated_pairs_only():
    logits, contact = contact_case()
    contact[0, 0, 7] = 1
    total, count = contact_loss(logits, contact, BCE)
    assert count.tolist() == [6, 6]  # |i-j| of 6 and 7, both ways
    assert total[0].item() == pytest.approx((5 + 5) * math.log(2))
    assert total[1].item() == pytest.approx(6 * math.log(2))
    contact[1, 0, 1] = 1  # |i-j| = 1
    assert torch.equal(contact_loss(logits, contact, BCE)[0], total)


@pytest.mark.parametrize("options", [BCE, FOCAL])
def test_contact_loss_leaves_out_the_unresolved(options):
    logits, contact = contact_case()
    contact[:, 0], contact[:, :, 0] = 255, 255
    logits[:, :, 0] = torch.nan
    total, count = contact_loss(logits, contact, options)
    assert count.tolist() == [2, 2]
    assert total.isfinite().all()


def test_contact_losses_are_those_of_their_formulas():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 1, 20, 20, generator=generator)
    contact = (torch.rand(1, 20, 20, generator=generator) < 0.3).to(torch.uint8)
    i, j = np.nonzero(np.abs(np.subtract.outer(np.arange(20), np.arange(20))) >= 6)
    p, y = sigmoid(logits[0, 0].numpy().astype(float))[i, j], contact[0].numpy()[i, j]
    bce = -np.where(y == 1, 5 * np.log(p), np.log(1 - p))
    focal = -np.where(y == 1, 0.25 * (1 - p) ** 2 * np.log(p), 0.75 * p**2 * np.log(1 - p))
    assert value(contact_loss(logits, contact, BCE)) == pytest.approx(bce.mean(), rel=1e-5)
    assert value(contact_loss(logits, contact, FOCAL)) == pytest.approx(focal.mean(), rel=1e-5)


def test_focal_loss_without_focus_is_the_cross_entropy():
    logits, positive = torch.randn(50), torch.rand(50) < 0.5
    plain = functional.binary_cross_entropy_with_logits(logits, positive.float(), reduction="none")
    torch.testing.assert_close(focal_loss(logits, positive, gamma=0.0, alpha=0.5), plain / 2)


def test_focal_loss_of_the_paper():
    """Lin et al. 2017, section 3.2: with gamma 2, p_t 0.9 counts 100 and p_t 0.968 about 1000 times less."""
    probability = torch.tensor([0.9, 0.968])
    logits, positive = probability.logit(), torch.tensor([True, True])
    ratio = functional.softplus(-logits) / (2 * focal_loss(logits, positive, gamma=2.0, alpha=0.5))
    assert ratio[0].item() == pytest.approx(100, rel=1e-4) and ratio[1].item() == pytest.approx(1000, rel=0.03)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradients_are_finite_however_sure_the_model_is(gamma):
    logits = torch.tensor([-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4] * 2, requires_grad=True)
    losses = focal_loss(logits, torch.arange(14) < 7, gamma, 0.25)
    losses.sum().backward()
    assert losses.isfinite().all() and logits.grad.isfinite().all() and (losses >= 0).all()


def test_distances_are_capped_scaled_and_masked():
    distance = torch.full((1, 3, 3), torch.nan)
    distance[0, 0, 1], distance[0, 0, 2], distance[0, 1, 1] = 10.0, 50.0, 0.0
    logits = torch.zeros(1, 1, 3, 3)  # 0.5 of the largest distance
    total, count = distance_loss(logits, distance, "mse", 20.0)
    assert count.item() == 2  # the diagonal is no pair
    assert total.item() == pytest.approx(0 + 0.25)
    assert value(distance_loss(logits, distance, "smooth_l1", 20.0)) == pytest.approx((0.5 - 0.05) / 2)


def test_distance_losses_are_those_of_their_formulas():
    generator = torch.Generator().manual_seed(0)
    logits, distance = torch.randn(1, 1, 9, 9, generator=generator), 30 * torch.rand(1, 9, 9, generator=generator)
    apart = ~np.eye(9, dtype=bool)
    error = np.abs(sigmoid(logits[0, 0].numpy().astype(float)) - np.minimum(distance[0].numpy(), 20) / 20)[apart]
    smooth = np.where(error < 0.1, error**2 / 0.2, error - 0.05)
    assert value(distance_loss(logits, distance, "mse", 20.0)) == pytest.approx((error**2).mean(), rel=1e-5)
    assert value(distance_loss(logits, distance, "smooth_l1", 20.0)) == pytest.approx(smooth.mean(), rel=1e-5)
    binned = torch.randn(1, 37, 9, 9, generator=generator)
    index = np.clip(np.floor((distance[0].numpy() - 2) / 0.5).astype(int), 0, 36)
    q = np.exp(binned[0].numpy().astype(float))
    q = np.take_along_axis(q, index[None], 0)[0] / q.sum(0)
    expected = -np.log(q[apart]).mean()
    assert value(distance_loss(binned, distance, "cross_entropy", 20.0)) == pytest.approx(expected, rel=1e-5)


def test_distances_fall_into_their_bins():
    distance = torch.full((1, 2, 2), torch.nan)
    for true, expected in [(0.5, 0), (7.99, 11), (8.0, 12), (19.9, 35), (20.0, 36), (90.0, 36)]:
        distance[0, 0, 1] = true
        logits = torch.zeros(1, 37, 2, 2)
        logits[:, expected] = 50.0
        assert value(distance_loss(logits, distance, "cross_entropy", 20.0)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_the_distance_between_minus_pi_and_pi_is_zero(kind):
    outputs = torch.tensor([-1.0, 0.0]).expand(1, 1, 2, 2)  # the direction of pi
    angles = torch.tensor([[[math.pi, -math.pi]]])
    assert value(angle_loss(outputs, angles, kind)) == pytest.approx(0, abs=1e-6)
    assert value(angle_loss(outputs, torch.zeros(1, 1, 2), kind)) == pytest.approx({"mse": 4, "cosine": 2}[kind])


def test_the_bin_of_minus_pi_is_that_of_pi():
    outputs = torch.randn(1, 1, 2, 24)
    edge, past = torch.full((1, 1, 2), math.pi - 1e-6), torch.full((1, 1, 2), math.pi)
    assert value(angle_loss(outputs, past, "cross_entropy")) == value(angle_loss(outputs, -past, "cross_entropy"))
    last = -outputs.log_softmax(-1)[..., 23].mean().item()
    assert value(angle_loss(outputs, edge, "cross_entropy")) == pytest.approx(last)


@pytest.mark.parametrize("kind", ["mse", "cosine"])
def test_angle_losses_depend_on_the_difference_around_the_circle(kind):
    true = torch.linspace(-math.pi, math.pi, 13)
    for difference in (0.3, -2.0, 3.0):
        predicted = true + difference
        outputs = torch.stack([predicted.cos(), predicted.sin()], -1)[None, :, None].expand(1, 13, 2, 2)
        loss = value(angle_loss(outputs, true[None, :, None].expand(1, 13, 2), kind))
        expected = 1 - math.cos(difference)  # half the squared chord
        assert loss == pytest.approx(2 * expected if kind == "mse" else expected, rel=1e-5)


def test_the_length_of_the_vector_counts_for_mse_and_not_for_cosine():
    angles = torch.zeros(1, 1, 2)
    doubled = torch.tensor([2.0, 0.0]).expand(1, 1, 2, 2)
    assert value(angle_loss(doubled, angles, "mse")) == 1
    assert value(angle_loss(doubled, angles, "cosine")) == 0


@pytest.mark.parametrize("kind", ANGLE_KINDS)
def test_unknown_angles_count_nothing_and_give_no_gradient(kind):
    outputs = torch.randn(1, 3, 2, 5 if kind == "cross_entropy" else 2, requires_grad=True)
    angles = torch.zeros(1, 3, 2)
    angles[0, 0] = torch.nan
    total, count = angle_loss(outputs, angles, kind)
    assert count.item() == 4
    total.sum().backward()
    assert outputs.grad.isfinite().all() and (outputs.grad[0, 0] == 0).all() and (outputs.grad[0, 1] != 0).any()


def losses_of(contact, distance, angle):
    """A function (options, outputs) -> the losses of a made-up batch of two chains, 8 and 12 residues long."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "contact": (torch.rand(2, 12, 12, generator=generator) < 0.3).to(torch.uint8),
        "distance": 30 * torch.rand(2, 12, 12, generator=generator),
        "angle": 6 * torch.rand(2, 12, 2, generator=generator) - 3,
    }
    batch["contact"][0, 8:], batch["contact"][0, :, 8:] = 255, 255
    batch["distance"][0, 8:], batch["distance"][0, :, 8:] = torch.nan, torch.nan
    batch["angle"][0, 8:] = torch.nan
    options = {**BCE, **FOCAL, "contact_loss_type": contact, "max_distance": 20.0}
    options |= {"distance_loss_type": distance, "angle_loss_type": angle}
    outputs = {
        "contact": torch.randn(2, 1, 12, 12, generator=generator),
        "distance": torch.randn(2, 10 if distance == "cross_entropy" else 1, 12, 12, generator=generator),
        "angle": torch.randn(2, 12, 2, 6 if angle == "cross_entropy" else 2, generator=generator),
    }
    return outputs, lambda outputs: all_losses(outputs, batch, options)


KINDS = list(zip(["bce", "focal", "focal"], DISTANCE_KINDS, ANGLE_KINDS, strict=True))


@pytest.mark.parametrize("kinds", KINDS)
def test_what_is_masked_has_no_effect(kinds):
    outputs, losses = losses_of(*kinds)
    changed = {task: values.clone() for task, values in outputs.items()}
    for task in ("contact", "distance"):
        changed[task][0, :, 8:], changed[task][0, :, :, 8:] = 1e6, -1e6
        changed[task].diagonal(dim1=-2, dim2=-1).fill_(1e3)
    changed["angle"][0, 8:] = 1e6
    for task, (total, count) in losses(changed).items():
        before_total, before_count = losses(outputs)[task]
        assert torch.equal(total, before_total) and torch.equal(count, before_count), task


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("kinds", KINDS)
def test_gradients_are_finite(kinds, scale):
    outputs, losses = losses_of(*kinds)
    outputs = {task: (scale * values).requires_grad_() for task, values in outputs.items()}
    sum(mean(*part) for part in losses(outputs).values()).backward()
    assert all(values.grad.isfinite().all() for values in outputs.values())


@pytest.mark.parametrize("kinds", KINDS)
def test_outputs_of_half_precision_are_widened(kinds):
    outputs, losses = losses_of(*kinds)
    rounded = {task: values.bfloat16() for task, values in outputs.items()}
    expected = losses({task: values.float() for task, values in rounded.items()})
    for task, (total, _) in losses(rounded).items():
        assert total.dtype == torch.float32 and torch.equal(total, expected[task][0])


def test_nothing_to_count_is_zero_and_weights_are_applied():
    assert mean(torch.zeros(2), torch.zeros(2)) == 0
    options = {"contact_loss_weight": 2.0, "distance_loss_weight": 0.5}
    assert weighted({"contact": torch.tensor(3.0), "distance": torch.tensor(4.0)}, options) == 8


def test_a_loss_that_is_not_known_is_an_error():
    for call in (
        lambda: contact_loss(*contact_case(), {"contact_loss_type": "hinge"}),
        lambda: distance_loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2), "l1", 20.0),
        lambda: angle_loss(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2), "l1"),
    ):
        with pytest.raises(KeyError):
            call()

import math

import pytest
import torch

from hardfold.contact.losses import (
    angle_centres,
    angle_loss,
    contact_loss,
    distance_centres,
    distance_edges,
    distance_loss,
    mean,
    weighted,
)


def value(part):
    return mean(*part).item()


def contact_case(length=8):
    return torch.zeros(2, 1, length, length), torch.zeros(2, length, length, dtype=torch.uint8)


def test_contact_loss_weighs_contacts_and_counts_separated_pairs_only():
    logits, contact = contact_case()
    contact[0, 0, 7] = 1
    total, count = contact_loss(logits, contact, positive_weight=5.0)
    assert count.tolist() == [6, 6]  # |i-j| of 6 and 7, both ways
    assert total[0].item() == pytest.approx((5 + 5) * math.log(2))
    assert total[1].item() == pytest.approx(6 * math.log(2))
    contact[1, 0, 1] = 1  # |i-j| = 1
    assert torch.equal(contact_loss(logits, contact, 5.0)[0], total)


def test_contact_loss_leaves_out_the_unresolved():
    logits, contact = contact_case()
    contact[:, 0], contact[:, :, 0] = 255, 255
    logits[:, :, 0] = torch.nan
    total, count = contact_loss(logits, contact, 1.0)
    assert count.tolist() == [2, 2]
    assert total.isfinite().all()


def test_distances_are_capped_scaled_and_masked():
    distance = torch.full((1, 3, 3), torch.nan)
    distance[0, 0, 1], distance[0, 0, 2], distance[0, 1, 1] = 10.0, 50.0, 0.0
    logits = torch.zeros(1, 1, 3, 3)  # 0.5 of the largest distance
    total, count = distance_loss(logits, distance, "mse", 20.0)
    assert count.item() == 2  # the diagonal is no pair
    assert total.item() == pytest.approx(0 + 0.25)
    assert value(distance_loss(logits, distance, "smooth_l1", 20.0)) == pytest.approx((0.5 - 0.05) / 2)


def test_distance_bins_have_an_edge_at_the_contact_distance():
    edges = distance_edges(20.0, 37)
    assert len(edges) == 36 and edges[0] == 2.5 and edges[-1] == 20 and 8.0 in edges.tolist()
    centres = distance_centres(20.0, 37)
    assert len(centres) == 37 and centres[0] == 2.25 and centres[-1] == 20.0
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


def test_angle_bins_close_the_circle():
    outputs = torch.randn(1, 1, 2, 24)
    edge = torch.full((1, 1, 2), math.pi - 1e-6)
    past = torch.full((1, 1, 2), math.pi)
    assert value(angle_loss(outputs, past, "cross_entropy")) == value(angle_loss(outputs, -past, "cross_entropy"))
    assert value(angle_loss(outputs, edge, "cross_entropy")) == pytest.approx(
        -outputs.log_softmax(-1)[..., 23].mean().item()
    )
    centres = angle_centres(24)
    assert centres[0].item() == pytest.approx(-math.pi + math.pi / 24)
    assert centres.sum().item() == pytest.approx(0, abs=1e-5)


def test_the_length_of_the_vector_counts_for_mse_and_not_for_cosine():
    angles = torch.zeros(1, 1, 2)
    doubled = torch.tensor([2.0, 0.0]).expand(1, 1, 2, 2)
    assert value(angle_loss(doubled, angles, "mse")) == 1
    assert value(angle_loss(doubled, angles, "cosine")) == 0


@pytest.mark.parametrize("kind", ["mse", "cosine", "cross_entropy"])
def test_unknown_angles_count_nothing_and_give_no_gradient(kind):
    outputs = torch.randn(1, 3, 2, 5 if kind == "cross_entropy" else 2, requires_grad=True)
    angles = torch.zeros(1, 3, 2)
    angles[0, 0] = torch.nan
    total, count = angle_loss(outputs, angles, kind)
    assert count.item() == 4
    total.sum().backward()
    assert outputs.grad.isfinite().all() and (outputs.grad[0, 0] == 0).all() and (outputs.grad[0, 1] != 0).any()


def test_nothing_to_count_is_zero_and_weights_are_applied():
    assert mean(torch.zeros(2), torch.zeros(2)) == 0
    options = {"contact_loss_weight": 2.0, "distance_loss_weight": 0.5}
    assert weighted({"contact": torch.tensor(3.0), "distance": torch.tensor(4.0)}, options) == 8

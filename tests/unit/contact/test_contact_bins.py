import math

import pytest

from hardfold import geometry
from hardfold.contact.bins import CONTACT, angle_centres, contact_bins, distance_centres, distance_edges


def test_distance_bins_are_equal_and_the_last_is_open():
    edges = distance_edges(20.0, 37)
    assert len(edges) == 36 and edges[:2] == [2.5, 3.0] and edges[-1] == 20
    centres = distance_centres(20.0, 37)
    assert len(centres) == 37 and centres[:2] == [2.25, 2.75] and centres[-2:] == [19.75, 20.0]


@pytest.mark.parametrize(("max_distance", "bins", "below"), [(20.0, 37, 12), (20.0, 28, 9), (20.0, 4, 1), (8.0, 3, 2)])
def test_contact_bins_end_at_the_contact_distance(max_distance, bins, below):
    assert contact_bins(max_distance, bins) == below
    assert distance_edges(max_distance, bins)[below - 1] == pytest.approx(CONTACT, abs=1e-6)


@pytest.mark.parametrize(("max_distance", "bins"), [(20.0, 36), (19.0, 37), (7.5, 12), (20.0, 2)])
def test_bins_without_an_edge_at_the_contact_distance_are_named(max_distance, bins):
    with pytest.raises(ValueError, match=f"{bins} bins up to {max_distance:g} angstrom have no edge at 8"):
        contact_bins(max_distance, bins)


def test_a_contact_is_what_the_data_set_calls_one():
    assert CONTACT == geometry.CONTACT


def test_angle_bins_close_the_circle():
    centres = angle_centres(24)
    assert centres[0] == pytest.approx(-math.pi + math.pi / 24) and sum(centres) == pytest.approx(0, abs=1e-9)
    assert centres[1] - centres[0] == pytest.approx(2 * math.pi / 24)

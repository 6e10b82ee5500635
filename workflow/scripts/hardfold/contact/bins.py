"""The bins of distances and angles, in plain Python: the configuration is checked against them without torch."""

import math
from itertools import pairwise

NEAREST = 2.0  # angstrom: where the distance bins begin
CONTACT = 8.0  # angstrom: below it two residues are in contact


def distance_edges(max_distance: float, bins: int) -> list[float]:
    """The bins - 1 inner edges: equal bins from 2 angstrom to `max_distance`, then one for all beyond (trRosetta)."""
    width = (max_distance - NEAREST) / (bins - 1)
    return [NEAREST + width * edge for edge in range(1, bins)]


def distance_centres(max_distance: float, bins: int) -> list[float]:
    """The distance that each of the bins stands for: its middle; `max_distance` for the last."""
    edges = [NEAREST, *distance_edges(max_distance, bins)]
    return [(low + high) / 2 for low, high in pairwise(edges)] + [max_distance]


def contact_bins(max_distance: float, bins: int) -> int:
    """How many bins lie below 8 angstrom. Raises ValueError unless one of the edges is there."""
    edges = distance_edges(max_distance, bins)
    nearest = min(range(len(edges)), key=lambda i: abs(edges[i] - CONTACT))
    if not math.isclose(edges[nearest], CONTACT, abs_tol=1e-6):
        raise ValueError(f"{bins} bins up to {max_distance:g} angstrom have no edge at {CONTACT:g}")
    return nearest + 1


def angle_centres(bins: int) -> list[float]:
    """The middles of equal bins over the circle from -pi, radians."""
    return [(bin + 0.5) * 2 * math.pi / bins - math.pi for bin in range(bins)]

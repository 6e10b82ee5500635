import warnings

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from hardfold import geometry

NAN = np.nan


def chain_of(alphas, betas=None):
    """(L, 5, 3) with N and C 1 angstrom beside each CA, and CB where given."""
    coordinates = np.full((len(alphas), 5, 3), NAN, dtype=np.float32)
    alphas = np.array(alphas, dtype=float)
    side = np.array([0, 1, 0])
    coordinates[:, 0], coordinates[:, 1], coordinates[:, 2] = alphas - side, alphas, alphas + side
    if betas is not None:
        coordinates[:, 4] = betas
    return coordinates


def place(a, b, c, length, angle, torsion):
    """The fourth point of a chain from bond length, bond angle and torsion (radians)."""
    axis = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal)
    frame = np.stack([axis, np.cross(normal, axis), normal], axis=1)
    x, y = -length * np.cos(angle), length * np.sin(angle)
    return c + frame @ np.array([x, y * np.cos(torsion), y * np.sin(torsion)])


def helix(phi, psi, residues):
    """Backbone (residues, 5, 3) of ideal geometry with these angles and a trans peptide bond."""
    points = [np.array([0.0, 0, 0]), np.array([1.46, 0, 0]), np.array([2.0, 1.4, 0])]
    bonds = [(1.33, np.radians(117), psi), (1.46, np.radians(122), np.pi), (1.52, np.radians(111), phi)]
    for index in range(3 * (residues - 1)):
        points.append(place(*points[-3:], *bonds[index % 3]))
    coordinates = np.full((residues, 5, 3), NAN)
    coordinates[:, :3] = np.array(points).reshape(residues, 3, 3)
    return coordinates


def test_virtual_cb_lies_where_the_ideal_alanine_has_it():
    alanine = np.full((1, 5, 3), NAN)
    alanine[0, :3] = [-0.525, 1.363, 0.0], [0.0, 0.0, 0.0], [1.526, 0.0, 0.0]
    assert np.abs(geometry.virtual_cb(alanine) - [-0.529, -0.774, -1.205]).max() < 0.05


def test_distances_are_those_of_scipy_bit_by_bit():
    coordinates = np.random.default_rng(0).normal(0, 20, (90, 5, 3)).astype(np.float32)
    coordinates[7] = NAN
    atoms = geometry.map_atoms(coordinates, "A" * 90)
    expected = cdist(atoms, atoms).astype(np.float32)
    assert np.array_equal(geometry.distance_map(coordinates, "A" * 90), expected, equal_nan=True)


def test_maps_use_cb_and_ca_of_glycine_and_mark_unresolved_pairs():
    # A's CB at x = 1; G stands for its CA at x = 8.9 whatever its CB; the third residue lacks N.
    coordinates = chain_of([[0, 0, 0], [8.9, 0, 0], [3, 0, 0]], [[1, 0, 0], [0, 0, 0], [4, 0, 0]])
    coordinates[2, 0] = NAN
    distances = geometry.distance_map(coordinates, "AGA")
    assert distances.dtype == np.float32
    assert distances[0, 1] == pytest.approx(7.9)
    assert np.isnan(distances[2]).all() and np.isnan(distances[:, 2]).all()
    assert geometry.contact_map(distances).tolist() == [[1, 1, 255], [1, 1, 255], [255, 255, 255]]


def test_contact_is_strictly_below_eight_angstrom():
    assert geometry.contact_map(np.array([7.999, 8.0, NAN])).tolist() == [1, 0, 255]


@pytest.mark.parametrize("torsion", [0.0, np.pi / 2, -np.pi / 2, 2.5])
def test_dihedral_has_the_sign_of_iupac(torsion):
    # Looking along b-c, d is turned clockwise from a by the torsion.
    a, b, c = np.array([1.0, 0, 0]), np.zeros(3), np.array([0, 0, 1.0])
    d = np.array([np.cos(torsion), np.sin(torsion), 1.0])
    assert geometry.dihedral(a, b, c, d) == pytest.approx(torsion)


def test_angles_of_an_ideal_helix_with_its_ends_unknown():
    phi, psi = np.radians([-57.0, -47.0])
    angles = geometry.backbone_angles(helix(phi, psi, 5))
    assert np.allclose(angles[1:, 0], phi, atol=1e-5) and np.allclose(angles[:-1, 1], psi, atol=1e-5)
    assert np.isnan(angles[0, 0]) and np.isnan(angles[-1, 1])


def test_angles_are_unknown_at_breaks_and_in_unresolved_residues():
    coordinates = helix(*np.radians([-57.0, -47.0]), 6)
    coordinates[2:] += 5  # a break between residues 2 and 3
    coordinates[4, 1] = NAN
    known = ~np.isnan(geometry.backbone_angles(coordinates))
    # Residue 4's psi needs residue 5's N, which is there; but residue 5 itself is unresolved.
    assert known.tolist() == [[0, 1], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0]]


def test_a_torsion_of_coincident_or_collinear_points_is_unknown():
    line = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 1, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(geometry.dihedral(*line))
        assert np.isnan(geometry.dihedral(line[0], line[1], line[1], line[3]))


@pytest.mark.parametrize("value", [0.0, NAN])
@pytest.mark.parametrize("length", [0, 1, 4])
def test_degenerate_backbones_give_unknown_angles_without_warnings(value, length):
    coordinates = np.full((length, 5, 3), value, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distances = geometry.distance_map(coordinates, "A" * length)
        contacts = geometry.contact_map(distances)
        assert np.isnan(geometry.backbone_angles(coordinates)).all()
        assert geometry.virtual_cb(coordinates).shape == (length, 3)
    assert distances.shape == contacts.shape == (length, length)
    assert np.array_equal(distances, np.full((length, length), value), equal_nan=True)
    assert (contacts == (1 if value == 0 else geometry.UNRESOLVED)).all()


def test_superpose_finds_the_motion_back():
    points = np.random.default_rng(0).normal(size=(7, 3))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rotation, translation = geometry.superpose(points, points @ turn.T + [1, 2, 3])
    assert np.allclose(rotation, turn) and np.allclose(translation, [1, 2, 3])


def test_superpose_never_mirrors():
    points = np.random.default_rng(1).normal(size=(6, 3))
    mirrored = points * [1, 1, -1]
    rotation, translation = geometry.superpose(points, mirrored)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert geometry.rmsd(points @ rotation.T + translation, mirrored) > 0.1

"""Backbone geometry in numpy: virtual CB atoms, contact and distance maps, phi and psi, superposition.

Coordinates are (L, 5, 3) in angstrom, atoms in the order of ATOMS, NaN where absent. Angles are radians, -pi..pi.
"""

import numpy as np

ATOMS = ("N", "CA", "C", "O", "CB")
CONTACT = 8.0  # angstrom between CB atoms: below it two residues are in contact
UNRESOLVED = 255  # in a contact map, a pair of which either residue is unresolved
PEPTIDE_BOND = 2.5  # angstrom C-N: above it the chain is broken, as in DSSP (Kabsch and Sander 1983)


def resolved(coordinates: np.ndarray) -> np.ndarray:
    """(L,) bool: N, CA and C are all present."""
    return np.isfinite(coordinates[:, :3]).all(axis=(1, 2))


def virtual_cb(coordinates: np.ndarray) -> np.ndarray:
    """(L, 3) CB atoms of ideal tetrahedral geometry from N, CA and C; NaN where one of the three is absent.

    The constants are trRosetta's (Yang et al. 2020, doi:10.1073/pnas.1914677117).
    """
    nitrogen, alpha, carbon = (coordinates[:, atom] for atom in range(3))
    to_alpha, to_carbon = alpha - nitrogen, carbon - alpha
    return -0.58273431 * np.cross(to_alpha, to_carbon) + 0.56802827 * to_alpha - 0.54067466 * to_carbon + alpha


def map_atoms(coordinates: np.ndarray, sequence: str) -> np.ndarray:
    """(L, 3) the atom that stands for a residue in the maps: CB, CA for Gly; NaN where unresolved."""
    glycine = np.array([letter == "G" for letter in sequence], dtype=bool)
    atoms = np.where(glycine[:, None], coordinates[:, 1], coordinates[:, 4])
    return np.where(resolved(coordinates)[:, None], atoms, np.nan)


def distance_map(coordinates: np.ndarray, sequence: str) -> np.ndarray:
    """(L, L) float32 angstrom between map atoms; NaN where either residue is unresolved."""
    axes = map_atoms(coordinates, sequence).T.astype(np.float64)
    # Bit by bit scipy's cdist, whose import takes longer than the maps of a shard.
    squares = sum(np.subtract.outer(axis, axis) ** 2 for axis in axes)
    return np.sqrt(squares).astype(np.float32)


def contact_map(distances: np.ndarray) -> np.ndarray:
    """(L, L) uint8 of a distance map: 1 below 8 angstrom, 0 not, 255 unresolved."""
    contacts = (distances < CONTACT).astype(np.uint8)
    contacts[np.isnan(distances)] = UNRESOLVED
    return contacts


def dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """(...,) torsion about b-c in radians of points (..., 3), IUPAC sign.

    NaN where it is undefined: b and c coincide, or a or d lies on their line.
    """
    first, axis, last = b - a, c - b, d - c
    before, after = np.cross(first, axis), np.cross(axis, last)
    sine, cosine = np.sqrt(_dot(axis, axis)) * _dot(first, after), _dot(before, after)
    return np.where((sine == 0) & (cosine == 0), np.nan, np.arctan2(sine, cosine))


def _dot(a, b):
    return np.einsum("...i,...i", a, b)


def backbone_angles(coordinates: np.ndarray) -> np.ndarray:
    """(L, 2) float32 phi and psi; NaN at the ends, at chain breaks, in unresolved residues."""
    angles = np.full((len(coordinates), 2), np.nan, dtype=np.float32)
    backbone = coordinates[:, :3].astype(np.float64)
    # A comparison with NaN is false: a bond to an unresolved residue counts as broken.
    bonded = np.linalg.norm(backbone[1:, 0] - backbone[:-1, 2], axis=-1) <= PEPTIDE_BOND
    points = backbone.reshape(-1, 3)
    # Along N, CA, C, N ... each bond in turn: psi of a residue, omega, phi of the next.
    torsions = dihedral(points[:-3], points[1:-2], points[2:-1], points[3:])
    angles[:-1, 1] = np.where(bonded, torsions[0::3], np.nan)
    angles[1:, 0] = np.where(bonded, torsions[2::3], np.nan)
    angles[~resolved(coordinates)] = np.nan
    return angles


def superpose(mobile: np.ndarray, fixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) of least RMSD: `mobile @ rotation.T + translation` lies on `fixed`.

    Both are (n, 3). Kabsch (1976, doi:10.1107/S0567739476001873), by singular values, never a reflection.
    """
    mobile, fixed = mobile.astype(np.float64), fixed.astype(np.float64)
    mobile_centre, fixed_centre = mobile.mean(axis=0), fixed.mean(axis=0)
    left, _, right = np.linalg.svd((mobile - mobile_centre).T @ (fixed - fixed_centre))
    handedness = np.sign(np.linalg.det(left @ right))
    rotation = right.T @ np.diag([1.0, 1.0, handedness]) @ left.T
    return rotation, fixed_centre - rotation @ mobile_centre


def rmsd(first: np.ndarray, second: np.ndarray) -> float:
    """Root mean square deviation in angstrom of two (n, 3) sets as they lie."""
    return float(np.sqrt(((first.astype(np.float64) - second) ** 2).sum(axis=-1).mean()))

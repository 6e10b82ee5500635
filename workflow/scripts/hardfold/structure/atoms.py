"""A model's residues and backbone atoms as lists and arrays, and the choice among alternative locations."""

import gemmi
import numpy as np

from hardfold.geometry import ATOMS
from hardfold.structure.chain import StructureError

_NAMES = np.array(ATOMS, dtype="S8").view(np.int64)  # eight characters compare faster as a number
NO_NUMBER = np.iinfo(np.int32).min
# angstrom: a coordinate of this size is a fault of the file, and the atom absent; distances below fit float16
_LARGEST = 1e4


class Residues:
    """The residues of a structure's only model. A residue is known by its row, counted in the file's order."""

    names: list[str]
    numbers: list[int]  # the author's; NO_NUMBER where there is none
    seqids: list[str]  # these with the insertion code

    def __init__(self, structure: gemmi.Structure, sizes: list[int]):
        """sizes: how many atoms each residue has. Raises StructureError for names of 8 and more characters."""
        try:
            atoms = gemmi.FlatStructure(structure)
        except RuntimeError as fault:
            raise StructureError(str(fault)) from None
        firsts = np.cumsum(sizes) - sizes
        self.names = [name.decode() for name in atoms.residue_names[firsts].view("S8")[:, 0].tolist()]
        self.numbers = atoms.resnums[firsts].tolist()
        self.seqids = [
            str(number) if icode == ord(" ") else f"{number}{chr(icode)}"
            for number, icode in zip(self.numbers, atoms.icodes[firsts].tolist(), strict=True)
        ]
        names, positions = atoms.atom_names.view(np.int64)[:, 0], atoms.pos
        slot = np.full(len(names), -1)
        for index, name in enumerate(_NAMES):
            slot[names == name] = index
        kept = np.flatnonzero(slot >= 0)
        # A comparison with NaN is false.
        finite = np.abs(positions[kept]) < _LARGEST
        kept = kept[finite[:, 0] & finite[:, 1] & finite[:, 2]]
        self._row = np.repeat(np.arange(len(sizes)), sizes)[kept]
        self._slot = slot[kept]
        self._position = positions[kept]
        self._altloc = atoms.altlocs[kept].astype(int)
        self._occupancy = atoms.occ[kept]

    def place(self, residues: list[tuple[int, int, bool]], length: int) -> np.ndarray:
        """(length, 5, 3) float32 angstrom of the residues (row, 0-based place, counts); NaN where absent.

        counts: whether the residue is the one that counts of those at its place. Of alternative locations the one whose
        atoms have the highest occupancy together counts, the first on a tie; an atom that it lacks is taken from the
        first that has it. Raises StructureError where a place has an atom twice.
        """
        rows, *table = np.array(residues, dtype=int).reshape(-1, 3).T
        by_row = np.full((2, len(self.names)), -1)
        by_row[:, rows] = table
        place, counts = by_row[:, self._row]
        self._refuse_copies(place)
        here = np.flatnonzero(counts == 1)
        place, altloc = place[here], self._altloc[here]
        # Of several atoms for one slot the last assigned stays: the preferred location's, else the file's first.
        order = np.arange(len(here))[::-1]
        if altloc.any():
            order = order[np.argsort(_preferred(place, altloc, self._occupancy[here])[order], kind="stable")]
        here, place = here[order], place[order]
        coordinates = np.full((length, len(ATOMS), 3), np.nan, dtype=np.float32)
        coordinates[place, self._slot[here]] = self._position[here]
        return coordinates

    def _refuse_copies(self, place):
        atoms = np.sort(((place * len(ATOMS) + self._slot) * 256 + self._altloc)[place >= 0])
        if len(twice := atoms[1:][atoms[1:] == atoms[:-1]]):
            position, slot = divmod(int(twice[0]) // 256, len(ATOMS))
            raise StructureError(f"position {position + 1} has two {ATOMS[slot]} atoms: a residue stands twice")


def _preferred(place, altloc, occupancy):
    """(atoms,) bool: whether the atom belongs to the alternative location that counts at its place."""
    location, first, member = np.unique(place * 256 + altloc, return_index=True, return_inverse=True)
    total = np.bincount(member, occupancy)
    by_merit = np.lexsort((first, -total))
    # Atoms without an alternative belong to all locations: they say nothing about which is preferred.
    by_merit = by_merit[location[by_merit] % 256 != 0]
    _, best = np.unique(location[by_merit] // 256, return_index=True)
    return np.isin(member, by_merit[best])

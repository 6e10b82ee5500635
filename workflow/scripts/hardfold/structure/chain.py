"""The typed record that the whole library works on, one protein chain, and its HDF5 file."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardfold.geometry import virtual_cb
from hardfold.hdf5 import open_hdf5, whole_hdf5


class StructureError(ValueError):
    """A structure that cannot be used, with the reason in one line."""


@dataclass(frozen=True, eq=False)
class Chain:
    """One protein chain; residue `i` of every array is position `i + 1`."""

    id: str
    sequence: str  # L letters, the deposited sequence; X for what is not one of the 20
    mask: np.ndarray  # (L,) bool: N, CA and C present
    coordinates: np.ndarray  # (L, 5, 3) float32 angstrom: N, CA, C, O, CB; NaN where absent
    virtual_cb: np.ndarray  # (L,) bool: the CB was built, the file has none
    auth_numbers: tuple[str, ...]  # deposited residue number and insertion code; empty where unresolved
    label_chain: str = ""
    method: str = ""
    resolution: float | None = None  # angstrom
    release_date: str = ""  # YYYY-MM-DD
    nonstandard: int = 0  # residues that are neither one of the 20 nor selenomethionine
    modified: tuple[str, ...] = ()  # `12:MSE`, position and monomer where the letter is the parent's, or X
    deposited: bool = True  # the sequence is a given one, not only that of the residues present

    @classmethod
    def from_atoms(cls, id: str, sequence: str, coordinates: np.ndarray, **source) -> "Chain":
        """A chain from its atoms (L, 5, 3): finds the mask and builds CB where a non-Gly residue has none.

        An atom of which a coordinate is not finite is absent.
        """
        coordinates = np.array(coordinates, dtype=np.float32)
        present = np.isfinite(coordinates).all(axis=2)
        coordinates[~present] = np.nan
        mask = present[:, :3].all(axis=1)
        built = mask & ~present[:, 4] & (np.frombuffer(sequence.encode(), dtype="S1") != b"G")
        if built.any():
            coordinates[built, 4] = virtual_cb(coordinates[built])
        source.setdefault("auth_numbers", tuple(str(number) for number in range(1, len(sequence) + 1)))
        return cls(id=id, sequence=sequence, mask=mask, coordinates=coordinates, virtual_cb=built, **source)


def save_chains(path: Path, chains: Iterable[Chain]) -> None:
    """Write chains as HDF5, /chains/<id> with the data sets sequence, coordinates, mask, auth_numbers and modified."""
    with whole_hdf5(path) as file:
        root = file.create_group("chains")
        for chain in chains:
            group = root.create_group(chain.id)
            group["sequence"] = chain.sequence
            group["coordinates"] = chain.coordinates
            group["coordinates"].attrs["virtual_cb"] = chain.virtual_cb
            group["mask"] = chain.mask
            group["auth_numbers"] = ",".join(chain.auth_numbers)
            group["modified"] = ",".join(chain.modified)
            for name in ("label_chain", "method", "release_date", "nonstandard", "deposited"):
                group.attrs[name] = getattr(chain, name)
            if chain.resolution is not None:
                group.attrs["resolution"] = chain.resolution


def load_chains(path: Path) -> dict[str, Chain]:
    """Chain id -> Chain, in order of the ids, from a file of `save_chains` or any file of the same layout."""
    with open_hdf5(path) as file:
        return {id: _load(id, group) for id, group in file["chains"].items()}


def read_sequences(path: Path) -> dict[str, tuple[str, str]]:
    """Chain id -> (sequence, release date), without the coordinates."""
    with open_hdf5(path) as file:
        return {
            id: (group["sequence"].asstr()[()], group.attrs["release_date"]) for id, group in file["chains"].items()
        }


def _load(id, group):
    attributes = group.attrs
    return Chain(
        id=id,
        sequence=group["sequence"].asstr()[()],
        mask=group["mask"][()],
        coordinates=group["coordinates"][()],
        virtual_cb=group["coordinates"].attrs["virtual_cb"],
        auth_numbers=tuple(group["auth_numbers"].asstr()[()].split(",")),
        modified=tuple(filter(None, group["modified"].asstr()[()].split(","))),
        label_chain=attributes["label_chain"],
        method=attributes["method"],
        resolution=float(attributes["resolution"]) if "resolution" in attributes else None,
        release_date=attributes["release_date"],
        nonstandard=int(attributes["nonstandard"]),
        deposited=bool(attributes.get("deposited", True)),
    )

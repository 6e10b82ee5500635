"""Sequences, stretches and alignments packed end to end in HDF5 files of at most 12 MB, small enough for any host.

A folder holds <group>_<kind>_000.h5, 001, ...; the arrays of one are the records' own, one after the other.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

from hardfold.hdf5 import whole_hdf5
from hardfold.structure.chain import Chain

SHARD_BYTES = 11_500_000  # before compression, so a file is smaller, with what HDF5 itself needs
STEP = np.float32(0.01)  # angstrom, as promod3-data stores coordinates
SHARE = np.float32(0.0001)  # and the shares of its profiles


def save_sequences(folder: Path, group: str, sequences: Mapping[str, str], clusters: Mapping[str, int]) -> None:
    """Write id -> sequence with the number of each one's cluster."""
    records = (
        {"ids": [name], "lengths": [len(sequence)], "clusters": [clusters[name]], "residues": _letters(sequence)}
        for name, sequence in sorted(sequences.items())
    )
    _save(folder, f"{group}_sequences", records, {"ids": "S", "lengths": "i4", "clusters": "i4", "residues": "u1"})


def save_stretches(folder: Path, group: str, stretches: Mapping[str, object]) -> None:
    """Write id -> stretch: sequence, coordinates (L, 4, 3) angstrom (N CA C O), moved near the origin, and profile
    (L, 20), the shares of the residues."""

    def pack(name, stretch):
        steps = np.rint(stretch.coordinates / STEP)
        steps -= steps.min(axis=(0, 1))
        record = {"ids": [name], "lengths": [len(steps)], "residues": _letters(stretch.sequence), "coordinates": steps}
        return record | {"profiles": np.rint(stretch.profile / SHARE)}

    records = (pack(name, stretch) for name, stretch in sorted(stretches.items()))
    types = {"ids": "S", "lengths": "i4", "residues": "u1", "coordinates": "u2", "profiles": "u2"}
    _save(folder, f"{group}_chains", records, types)


def save_alignments(folder: Path, group: str, alignments: Iterable[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Write of each alignment its id, rows (N, L), uint8 ASCII match columns, the query first, and couplings (L, L)."""
    records = (
        {
            "ids": [name],
            "lengths": [rows.shape[1]],
            "rows": [len(rows)],
            "residues": rows.ravel(),
            "couplings": couplings.ravel(),
        }
        for name, rows, couplings in alignments
    )
    types = {"ids": "S", "lengths": "i4", "rows": "i4", "residues": "u1", "couplings": "f2"}
    _save(folder, f"{group}_alignments", records, types)


def load_sequences(folder: Path, group: str) -> tuple[list[str], np.ndarray]:
    """The sequences of a group, by id, and the numbers of their clusters."""
    sequences, clusters = [], [np.zeros(0, np.int32)]
    for shard in _load(folder, f"{group}_sequences", ("lengths", "clusters", "residues")):
        residues, ends = shard["residues"].tobytes().decode("ascii"), np.cumsum(shard["lengths"])
        sequences += [residues[end - length : end] for end, length in zip(ends, shard["lengths"], strict=True)]
        clusters.append(shard["clusters"])
    return sequences, np.concatenate(clusters)


def load_stretches(folder: Path, group: str) -> dict[str, Chain]:
    """Chain id -> chain of a group; CB atoms are built, the source has none."""
    chains = {}
    for shard in _load(folder, f"{group}_chains", ("ids", "lengths", "residues", "coordinates")):
        ends = np.cumsum(shard["lengths"])[:-1]
        parts = (np.split(shard[name], ends) for name in ("residues", "coordinates"))
        for name, residues, steps in zip(shard["ids"], *parts, strict=True):
            backbone = steps.astype(np.float32) * STEP
            coordinates = np.concatenate([backbone, np.full_like(backbone[:, :1], np.nan)], axis=1)
            chains[name.decode()] = Chain.from_atoms(name.decode(), residues.tobytes().decode("ascii"), coordinates)
    return chains


def load_profiles(folder: Path, group: str) -> dict[str, np.ndarray]:
    """Chain id -> shares of the residues (L, 20), in the order of `alignment.profile`."""
    profiles = {}
    for shard in _load(folder, f"{group}_chains", ("ids", "lengths", "profiles")):
        parts = np.split(shard["profiles"], np.cumsum(shard["lengths"])[:-1])
        profiles |= {name.decode(): part * SHARE for name, part in zip(shard["ids"], parts, strict=True)}
    return profiles


def load_alignments(folder: Path, group: str) -> dict[str, np.ndarray]:
    """Chain id -> rows (N, L) uint8, the query first."""
    alignments = {}
    for shard in _load(folder, f"{group}_alignments", ("ids", "lengths", "rows", "residues")):
        parts = np.split(shard["residues"], np.cumsum(shard["lengths"] * shard["rows"])[:-1])
        for name, length, residues in zip(shard["ids"], shard["lengths"], parts, strict=True):
            alignments[name.decode()] = residues.reshape(-1, length)
    return alignments


def load_couplings(folder: Path, group: str) -> dict[str, np.ndarray]:
    """Id of a chain of which a homologue was found -> the standardised couplings (L, L) float16 of its alignment."""
    couplings = {}
    for shard in _load(folder, f"{group}_alignments", ("ids", "lengths", "rows", "couplings")):
        parts = np.split(shard["couplings"], np.cumsum(shard["lengths"] ** 2)[:-1])
        for name, length, rows, pairs in zip(shard["ids"], shard["lengths"], shard["rows"], parts, strict=True):
            if rows > 1:
                couplings[name.decode()] = pairs.reshape(length, length)
    return couplings


def _letters(sequence):
    return np.frombuffer(sequence.encode("ascii"), np.uint8)


def _save(folder, stem, records, types):
    waiting, size, number = [], 0, 0
    for record in records:
        arrays = {field: np.asarray(record[field], kind) for field, kind in types.items()}
        bytes_ = sum(array.nbytes for array in arrays.values())
        if waiting and size + bytes_ > SHARD_BYTES:
            _write(folder, stem, number, waiting)
            waiting, size, number = [], 0, number + 1
        waiting.append(arrays)
        size += bytes_
    if waiting:
        _write(folder, stem, number, waiting)


def _write(folder, stem, number, records):
    with whole_hdf5(Path(folder, f"{stem}_{number:03}.h5")) as store:
        for field in records[0]:
            joined = np.concatenate([record[field] for record in records])
            store.create_dataset(field, data=joined, compression="gzip", shuffle=True)


def _load(folder, stem, fields):
    for path in sorted(Path(folder).glob(f"{stem}_*.h5")):
        with h5py.File(path) as store:
            yield {field: store[field][:] for field in fields}

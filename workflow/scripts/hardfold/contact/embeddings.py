"""What is computed of each chain once for all experiments: features and attention maps of frozen layers, couplings.

results/embeddings/<key>/<split>.h5 holds an array a chain, with the sha256 of what was read as its attribute `letters`:
features (L, D) where all layers are frozen, else (T, D) or (R, T, D), float32; or of symmetric maps the upper triangles
by rows, (P, L (L + 1) / 2), float16. Root attributes: model, weights (sha256 of the checkpoint), layer, rows of the
alignment (0: the sequence alone), content.

float16 does the maps no harm: the probabilities of ESM's contact head move by 4e-4 at most (25 chains of the embedded
test set, both embedded models), as much as predictions.h5 rounds them.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from hardfold.dataset import chain_group
from hardfold.hdf5 import open_hdf5, whole_hdf5
from hardfold.jobs import progress

_ATTRIBUTES = ("model", "layer", "rows", "content")


class EmbeddingsError(ValueError):
    """Embeddings that cannot be made or used; the message names the file, or the chains."""


def write_embeddings(
    compute: Callable[[np.ndarray], np.ndarray],
    embedding: Mapping,
    chains: Path,
    output: Path,
    weights: str = "",
    ids: Sequence[str] | None = None,
) -> None:
    """Write what `compute` makes of the letters (see `read_letters`) of the chains `ids` of the data set `chains`, all
    by default: features, or symmetric maps (P, L, L). embedding: an entry of contact.keys; weights: the checkpoint's
    sha256.
    """
    with open_hdf5(chains) as source, whole_hdf5(output) as file:
        groups = source["chains"]
        ids = sorted(groups) if ids is None else ids
        file.attrs.update({name: embedding[name] for name in _ATTRIBUTES}, weights=weights)
        for id in progress(ids, len(ids), f"chains of {chains}"):
            letters = read_letters(chain_group(groups, id), embedding["rows"])
            values = compute(letters)
            array = file.create_dataset(id, data=values if embedding["content"] == "features" else pack(values))
            array.attrs["letters"] = _digest(letters)


def read_letters(group: h5py.Group, rows: int) -> np.ndarray:
    """What an encoder reads of a chain, uint8 ASCII: the sequence (L,), or the first `rows` of the alignment (R, L)."""
    return group["msa"][:rows] if rows else np.frombuffer(group["sequence"][()], np.uint8)


def _digest(letters: np.ndarray) -> str:
    return hashlib.sha256(letters.tobytes()).hexdigest()


def _digests(chains: Path, rows: int, ids: Iterable[str] | None) -> dict[str, str]:
    with open_hdf5(chains) as source:
        groups = source["chains"]
        return {id: _digest(read_letters(chain_group(groups, id), rows)) for id in (groups if ids is None else ids)}


def pack(maps: np.ndarray) -> np.ndarray:
    """Symmetric maps (P, L, L) -> their upper triangles (P, L (L + 1) / 2) float16."""
    i, j = np.triu_indices(maps.shape[-1])
    return maps[:, i, j].astype(np.float16)


class Embeddings:
    """A file of `embed_chains`; each process opens it for itself, so workers may share it."""

    def __init__(
        self,
        path: Path,
        embedding: Mapping,
        weights: str,
        chains: Path,
        ids: Iterable[str] | None = None,
        letters: Mapping[str, str] | None = None,
    ):
        """Raises EmbeddingsError unless the file was made as `embedding` says, with the checkpoint of this sha256, of
        the very sequences or alignments of the data set `chains`, all of them or those of `ids`. letters: the
        attribute of that name of other embeddings of the same, which then need not be read again."""
        self.path, self._file, self._process = path, None, None
        expected = {**{name: embedding[name] for name in _ATTRIBUTES}, "weights": weights}
        with open_hdf5(path) as file:
            if other := [f"{key} {file.attrs.get(key)}, not {value}" for key, value in expected.items()
                         if file.attrs.get(key) != value]:  # fmt: skip
                raise EmbeddingsError(f"{path}: made with {'; '.join(other)}")
            self.letters = letters or _digests(chains, embedding["rows"], ids)
            for id, digest in self.letters.items():
                if id not in file or file[id].attrs["letters"] != digest:
                    raise EmbeddingsError(f"{path}: not of {id} as it stands in {chains}")

    def _array(self, id: str) -> h5py.Dataset:
        if self._process != os.getpid():
            self._file, self._process = open_hdf5(self.path), os.getpid()
        return self._file[id]

    def features(self, id: str, start: int, stop: int, ends: tuple[int, int]) -> np.ndarray:
        """Residues start to stop, (n, D) or (R, n, D), between the tokens of both ends where the encoder has them."""
        array = self._array(id)
        before, after = ends
        last = array.shape[-2] - after
        parts = slice(0, before), slice(before + start, before + stop), slice(last, last + after)
        return np.concatenate([array[..., part, :] for part in parts], axis=-2)

    def maps(self, id: str, start: int, stop: int) -> np.ndarray:
        """Maps of the residues start to stop, (P, n, n) float16."""
        array = self._array(id)
        length = math.isqrt(2 * array.shape[1])  # of L (L + 1) / 2
        position = np.arange(start, stop)
        row, column = np.minimum.outer(position, position), np.maximum.outer(position, position)
        where = row * (2 * length - row - 1) // 2 + column
        return array[:, where[0, 0] : where[-1, -1] + 1][:, where - where[0, 0]]

    def __getstate__(self):
        return {**self.__dict__, "_file": None, "_process": None}

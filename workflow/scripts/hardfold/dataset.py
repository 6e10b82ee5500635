"""The HDF5 data set: shards with every array a model trains on, and one file a split that links to them.

/chains/<id> holds what DEFINITIONS says; plain h5py reads it. The (L, L) maps and the alignment are stored with gzip 1
and the byte shuffle. Measured on 33 CASP14 natives (245 residues on average, 6.1 MB of float16 distances): size, write,
read were 0.52, 79 MB/s, 303 MB/s, against 0.59, 125, 243 with lzf and shuffle, 0.50, 65, 269 with gzip 4 and 1.00, 455,
567 uncompressed; contact maps shrink to 0.07 (lzf 0.09), alignments to 0.45 (lzf 0.59). lzf needs h5py, gzip does not.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hardfold import jobs, tables
from hardfold.alignment import read_a3m
from hardfold.geometry import backbone_angles, contact_map, distance_map

FORMAT_VERSION = "1"
DEFINITIONS = {
    "sequence": "deposited sequence, one letter a residue, X for what is not one of the 20; residue i is position i",
    "msa": "(rows, L) uint8, ASCII of the alignment's match columns, A-Z and '-'; row 0 is the sequence",
    "coordinates": "(L, 5, 3) float32 angstrom: N, CA, C, O, CB; NaN where absent; attribute virtual_cb: CB was built",
    "mask": "(L,) bool: resolved, that is N, CA and C are present",
    "auth_numbers": "deposited residue numbers with insertion codes, comma separated, empty where unresolved",
    "contact_map": "(L, L) uint8: 1 CB-CB (CA for Gly) below 8 angstrom, 0 not, 255 either residue unresolved",
    "distance_map": "(L, L) float16 angstrom CB-CB (CA for Gly), NaN where either residue is unresolved",
    "angle_map": "(L, 2) float32 radians: phi, psi; NaN at ends, chain breaks and unresolved residues",
}
_TABLES = ("definitions", "source_hashes")  # root attributes that are JSON objects
_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


class DatasetError(ValueError):
    """A data set that cannot be built or read, with the reason in one line."""


@dataclass(frozen=True, eq=False)
class Record:
    """One chain as models see it; arrays as in DEFINITIONS, distances widened to float32."""

    id: str
    sequence: str
    msa: np.ndarray
    coordinates: np.ndarray
    mask: np.ndarray
    contact_map: np.ndarray
    distance_map: np.ndarray
    angle_map: np.ndarray


def build_shard(structures: Path, alignments: Path, output: Path, max_rows: int) -> None:
    """Write the shard's chains with their maps and the first `max_rows` rows of `alignments`/<id>.a3m.

    Raises AlignmentError where an alignment is unreadable or is not the chain's own, DatasetError where it is missing.
    """
    read = hashlib.sha256()
    with (
        tables.whole_file(output) as temporary,
        h5py.File(structures) as source,
        h5py.File(temporary, "w") as file,
    ):
        root = file.create_group("chains")
        chains = source["chains"]
        for id in jobs.progress(chains, len(chains), "chains"):
            path = Path(alignments, f"{id}.a3m")
            if not path.is_file():
                raise DatasetError(f"{id}: its alignment {path} is missing")
            read.update(path.read_bytes())
            chains.copy(id, root)
            _add_arrays(root[id], path, max_rows)
        _describe(
            file, {"structures": tables.sha256(structures), "alignments": read.hexdigest()}, {"max_rows": max_rows}
        )


def _add_arrays(group, path, max_rows):
    sequence, coordinates = group["sequence"].asstr()[()], group["coordinates"][()]
    distances = distance_map(coordinates, sequence)
    group.create_dataset("msa", data=read_a3m(path, sequence).rows[:max_rows], **_COMPRESSION)
    # Contacts come from the distances before these are rounded to float16.
    group.create_dataset("contact_map", data=contact_map(distances), **_COMPRESSION)
    group.create_dataset("distance_map", data=distances.astype(np.float16), **_COMPRESSION)
    group["angle_map"] = backbone_angles(coordinates)


def join(shards: list[Path], assignment: Path, outputs: Mapping[str, Path], settings: Mapping) -> None:
    """Write one file a split (split -> path) whose /chains/<id> link to the shards by relative paths.

    Chains that the assignment calls `dropped` enter no file. Raises DatasetError unless shards and assignment name the
    same chains. `settings` are the configuration values that the data rest on; the files carry their hash.
    """
    table = tables.read(assignment, ["chain", "split"], key="chain")
    unknown = sorted(set(table["split"]) - {*outputs, "dropped"})
    if unknown:
        raise DatasetError(f"{assignment}: split {', '.join(unknown)} is none of {', '.join(outputs)}, dropped")
    homes, sources = {}, hashlib.sha256()
    for shard in sorted(map(Path, shards)):
        with h5py.File(shard) as file:
            homes |= dict.fromkeys(file["chains"], shard)
            sources.update(f"{file.attrs['source_hashes']} {file.attrs['config_hash']}\n".encode())
    if odd := sorted(set(homes) ^ set(table["chain"])):
        raise DatasetError(f"{odd[0]} and {len(odd) - 1} more stand in only one of {assignment} and the shards")
    hashes = {"shards": sources.hexdigest(), "assignment": hashlib.sha256(Path(assignment).read_bytes()).hexdigest()}
    for split, output in outputs.items():
        with tables.whole_file(output) as temporary, h5py.File(temporary, "w") as file:
            root = file.create_group("chains")
            for id in sorted(table["chain"][table["split"] == split]):
                home = os.path.relpath(homes[id], Path(output).parent)
                root[id] = h5py.ExternalLink(home, f"/chains/{id}")
            _describe(file, hashes, settings)


def _describe(file, source_hashes, settings):
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["definitions"] = json.dumps(DEFINITIONS)
    file.attrs["source_hashes"] = json.dumps(source_hashes)
    file.attrs["config_hash"] = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@contextmanager
def _opened(path):
    try:
        with h5py.File(path) as file:
            yield file
    except OSError as fault:
        reason = "no such file" if not Path(path).exists() else f"not a readable HDF5 file ({fault})"
        raise DatasetError(f"{path}: {reason}") from None


class Dataset:
    """Records of a split's file or of a shard, by chain id. Opened at each access, so workers may share it."""

    def __init__(self, path: Path):
        """Raises DatasetError for a file that is no data set of this format."""
        self.path = Path(path)
        with _opened(path) as file:
            version = file.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise DatasetError(f"{path}: not a hardfold data set of format {FORMAT_VERSION} (found {version})")
            self.ids: list[str] = sorted(file["chains"])

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> list[int]:
        """Residues of each chain, in the order of `ids`."""
        with _opened(self.path) as file:
            return [len(_resolve(file, file["chains"], id)["mask"]) for id in self.ids]

    def __iter__(self) -> Iterator[Record]:
        return (self[id] for id in self.ids)

    def __getitem__(self, id: str) -> Record:
        """Raises KeyError for an id that the file does not name, DatasetError where its shard lacks it."""
        with _opened(self.path) as file:
            group = _resolve(file, file["chains"], id)
            return Record(
                id=id,
                sequence=group["sequence"].asstr()[()],
                distance_map=group["distance_map"][()].astype(np.float32),
                **{name: group[name][()] for name in ("msa", "coordinates", "mask", "contact_map", "angle_map")},
            )


def _resolve(file, parent, id):
    try:
        return parent[id]
    except KeyError:
        link = parent.get(id, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise DatasetError(f"{file.filename}: {id} is not to be found in {link.filename}, its link's end") from None
        raise


def inspect(path: Path) -> str:
    """What an HDF5 file of this project holds, in lines of text. Raises DatasetError."""
    with _opened(path) as file:
        parent = file.get("chains", file)
        arrays, lengths, resolved = {}, [], 0
        for id in parent:
            group = _resolve(file, parent, id)
            if not isinstance(group, h5py.Group):
                raise DatasetError(f"{path}: not laid out by chains ({id} is an array)")
            for name, array in group.items():
                arrays.setdefault(name, []).append((array.shape, str(array.dtype), array.id.get_storage_size()))
            if "mask" in group:
                lengths.append(len(group["mask"]))
                resolved += int(group["mask"][()].sum())
        lines = [f"{path}: {len(parent)} chains"]
        if lengths:
            lines.append(f"  residues: {sum(lengths)}, {resolved} resolved; {min(lengths)} to {max(lengths)} a chain")
        for name, found in sorted(arrays.items()):
            kinds, size = ", ".join(sorted({kind for _, kind, _ in found})), sum(size for *_, size in found) / 1e6
            lines.append(f"  {name}: {len(found)} of {kinds}, {min(found)[0]} to {max(found)[0]}, {size:.2f} MB stored")
        for name, value in sorted(file.attrs.items()):
            lines += [f"  {name}: {value}"] if name not in _TABLES else [f"  {name}:", *_table_lines(value)]
        return "\n".join(lines)


def _table_lines(text):
    return [f"    {key}: {value}" for key, value in json.loads(text).items()]

"""The HDF5 data set: shards with every array a model trains on, and one file a split that links to them.

/chains/<id> holds what DEFINITIONS says; plain h5py reads it, HDF5 1.10 (2016) and later.

Measured on real chains (docs/benchmarks/dataset.md), bytes a residue and MB/s written and read by one process:

    array                       gzip 1, shuffle  gzip 4        gzip 9       lzf            none
    distance_map float16        258  55 172      249  45 171   245  9 171   293 100 183    365 374 388
    distance_map float32        571  54 256      565  50 272   561 12 303   597  88 274    727 663 719
    contact_map                  13 135 155       10  85 123     8  9 134    18 112 141    183 216 234
    msa, 256 rows               119  53 120      106  41 139   103 12 128   169  77 154    258 255 314

Hence gzip 1; shuffle makes the distances 13 % smaller. A map is one chunk up to 512 residues and equal parts above:
chunks of 128 x 128 are 3 % larger and a fifth slower to read whole, h5py's own 6 % and a quarter; of 1,022 residues
a crop of 256 takes 2.7 ms instead of 4.9. An alignment lies in chunks of 128 rows: the first 16 take 0.4 ms instead
of 1.4. HDF5 1.10's headers take 4 kB a chain, the default's 12. The processor limits writing (19 ms a chain of 252
residues, half of it the choice of rows, a sixth zlib) and reading (2.7 ms, a quarter zlib), not the disk (0.2 ms).
"""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from hardfold import jobs, tables
from hardfold.alignment import choose_rows, read_a3m
from hardfold.geometry import backbone_angles, contact_map, distance_map
from hardfold.hdf5 import open_hdf5, whole_hdf5
from hardfold.structure.chain import Chain

FORMAT_VERSION = "1"
DEFINITIONS = {
    "sequence": "deposited sequence, one letter a residue, X for what is not one of the 20; residue i is position i",
    "msa": "(rows, L) uint8, ASCII of the alignment's match columns, A-Z and '-'; row 0 is the sequence; in the order "
    "of choice, so the first k are the choice of k rows; attributes selection (how), alignment_rows (out of how many)",
    "coordinates": "(L, 5, 3) float32 angstrom: N, CA, C, O, CB; NaN where absent; attribute virtual_cb: CB was built",
    "mask": "(L,) bool: resolved, that is N, CA and C are present",
    "auth_numbers": "deposited residue numbers with insertion codes, comma separated, empty where unresolved",
    "modified": "position:monomer of each residue whose letter is its parent's or X (12:MSE), comma separated",
    "contact_map": "(L, L) uint8: 1 CB-CB (CA for Gly) below 8 angstrom, 0 not, 255 either residue unresolved",
    "distance_map": "(L, L) float16 angstrom CB-CB (CA for Gly), NaN where either residue is unresolved",
    "angle_map": "(L, 2) float32 radians: phi, psi; NaN at ends, chain breaks and unresolved residues",
}
_COMPRESSION = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_TILE = 512  # residues: up to here a map is one chunk
_ROWS = 128  # of an alignment in a chunk: few rows are read without the rest


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


def build_shard(structures: Path, alignments: Path, output: Path, *, max_rows: int, selection: str) -> None:
    """Write the shard's chains with their maps and at most `max_rows` rows of `alignments`/<id>.a3m, chosen by
    `selection` (alignment.choose_rows).

    Raises AlignmentError where an alignment is unreadable or is not the chain's own, DatasetError where it is missing.
    """
    read = hashlib.sha256()
    with open_hdf5(structures) as source, whole_hdf5(output) as file:
        root, chains = file.create_group("chains"), source["chains"]
        for id in jobs.progress(chains, len(chains), "chains"):
            path = Path(alignments, f"{id}.a3m")
            if not path.is_file():
                raise DatasetError(f"{id}: its alignment {path} is missing")
            read.update(path.read_bytes())
            chains.copy(id, root)
            sequence, coordinates = chains[id]["sequence"].asstr()[()], chains[id]["coordinates"][()]
            _add_alignment(root[id], read_a3m(path, sequence).rows, max_rows, selection)
            _add_maps(root[id], sequence, coordinates)
        hashes = {"structures": tables.sha256(structures), "alignments": read.hexdigest()}
        _describe(file, hashes, {"max_rows": max_rows, "selection": selection})


def _add_alignment(group, rows, max_rows, selection):
    chosen = rows[choose_rows(rows, max_rows, selection)]
    chunks = min(len(chosen), _ROWS), chosen.shape[1]
    msa = group.create_dataset("msa", data=chosen, chunks=chunks, **_COMPRESSION)
    msa.attrs["selection"], msa.attrs["alignment_rows"] = selection, len(rows)


def _add_maps(group, sequence, coordinates):
    distances = distance_map(coordinates, sequence)
    # Contacts come from the distances before these are rounded to float16.
    maps = {"contact_map": contact_map(distances), "distance_map": distances.astype(np.float16)}
    side = math.ceil(len(sequence) / math.ceil(len(sequence) / _TILE))
    for name, values in maps.items():
        group.create_dataset(name, data=values, chunks=(side, side), **_COMPRESSION)
    group["angle_map"] = backbone_angles(coordinates)


def join(shards: list[Path], assignment: Path, outputs: Mapping[str, Path], settings: Mapping) -> None:
    """Write one file a split (split -> path) whose /chains/<id> link to the shards by relative paths.

    Chains that the assignment calls `dropped` enter no file. Raises DatasetError unless shards and assignment name the
    same chains, each once. `settings` are the configuration values that the data rest on; the files carry them.
    """
    table = tables.read(assignment, ["chain", "split"], key="chain")
    unknown = sorted(set(table["split"]) - {*outputs, "dropped"})
    if unknown:
        raise DatasetError(f"{assignment}: split {', '.join(unknown)} is none of {', '.join(outputs)}, dropped")
    homes, sources = {}, hashlib.sha256()
    for shard in sorted(map(Path, shards)):
        with open_hdf5(shard) as file:
            if twice := sorted(homes.keys() & file["chains"].keys()):
                raise DatasetError(f"{twice[0]} and {len(twice) - 1} more stand in both {homes[twice[0]]} and {shard}")
            homes |= dict.fromkeys(file["chains"], shard)
            sources.update(f"{file.attrs['source_hashes']} {file.attrs['config_hash']}\n".encode())
    if odd := sorted(set(homes) ^ set(table["chain"])):
        raise DatasetError(f"{odd[0]} and {len(odd) - 1} more stand in only one of {assignment} and the shards")
    hashes = {"shards": sources.hexdigest(), "assignment": tables.sha256(assignment)}
    for split, output in outputs.items():
        with whole_hdf5(output) as file:
            root = file.create_group("chains")
            for id in sorted(table["chain"][table["split"] == split]):
                home = os.path.relpath(homes[id], Path(output).parent)
                root[id] = h5py.ExternalLink(home, f"/chains/{id}")
            _describe(file, hashes, settings)


def link_chains(dataset: Path, ids: Iterable[str], output: Path) -> None:
    """Write a data set of these chains of another by links to where they lie."""
    dataset, output = Path(dataset), Path(output)
    with open_hdf5(dataset) as source, whole_hdf5(output) as file:
        root = file.create_group("chains")
        for id in sorted(ids):
            link = source["chains"].get(id, getlink=True)
            home = dataset.parent / link.filename if isinstance(link, h5py.ExternalLink) else dataset
            root[id] = h5py.ExternalLink(os.path.relpath(home, output.parent), f"/chains/{id}")
        file.attrs.update(source.attrs)


def replace_structures(dataset: Path, structures: Mapping[str, Chain], output: Path) -> None:
    """Write a data set of these chains of another, id -> the chain whose atoms and maps take the place of its own."""
    with open_hdf5(dataset) as source, whole_hdf5(output) as file:
        root = file.create_group("chains")
        for id, chain in jobs.progress(sorted(structures.items()), len(structures), "chains"):
            group, own = root.create_group(id), chain_group(source["chains"], id)
            for name in ("sequence", "msa", "auth_numbers", "modified"):
                own.copy(name, group)
            group.attrs.update(own.attrs)
            group["coordinates"], group["mask"] = chain.coordinates, chain.mask
            group["coordinates"].attrs["virtual_cb"] = chain.virtual_cb
            _add_maps(group, chain.sequence, chain.coordinates)
        file.attrs.update(source.attrs)


def _describe(file, source_hashes, settings):
    settings = json.dumps(settings, sort_keys=True)
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["definitions"] = json.dumps(DEFINITIONS)
    file.attrs["source_hashes"] = json.dumps(source_hashes)
    file.attrs["config"] = settings
    file.attrs["config_hash"] = hashlib.sha256(settings.encode()).hexdigest()


class Dataset:
    """Records of a split's file or of a shard, by chain id. Opened at each access, so workers may share it."""

    def __init__(self, path: Path):
        """Raises HDF5Error or DatasetError for a file that is no data set of this format."""
        self.path = Path(path)
        with open_hdf5(path) as file:
            version = file.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise DatasetError(f"{path}: not a hardfold data set of format {FORMAT_VERSION} (found {version})")
            self.ids: list[str] = sorted(file["chains"])

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> list[int]:
        """Residues of each chain, in the order of `ids`."""
        with open_hdf5(self.path) as file:
            return [len(chain_group(file["chains"], id)["mask"]) for id in self.ids]

    def __iter__(self) -> Iterator[Record]:
        return (self[id] for id in self.ids)

    def __getitem__(self, id: str) -> Record:
        """The whole chain."""
        return self.read(id)

    def read(self, id: str, crop: slice = slice(None), rows: int | None = None) -> Record:
        """The residues `crop` of a chain, with the first `rows` rows of its alignment, all by default.

        Raises KeyError for an id that the file does not name, HDF5Error or DatasetError where its shard cannot be read.
        """
        with open_hdf5(self.path) as file:
            group = chain_group(file["chains"], id)
            try:
                return Record(
                    id=id,
                    sequence=group["sequence"].asstr()[()][crop],
                    msa=group["msa"][:rows, crop],
                    contact_map=group["contact_map"][crop, crop],
                    distance_map=group["distance_map"][crop, crop].astype(np.float32),
                    **{name: group[name][crop] for name in ("coordinates", "mask", "angle_map")},
                )
            except OSError as fault:
                raise DatasetError(f"{self.path}: {id} is damaged ({fault})") from None


def evenly_chosen(ids: Sequence[str], most: int) -> list[str]:
    """At most `most` of the ids, evenly spread over them."""
    return [ids[index] for index in np.unique(np.linspace(0, len(ids) - 1, most, dtype=int))] if ids else []


def chain_group(chains: h5py.Group, id: str) -> h5py.Group:
    """The group of a chain, behind a link or not.

    Raises KeyError for an id that is not there, HDF5Error or DatasetError where the shard it is linked to lacks it.
    """
    try:
        return chains[id]
    except KeyError:
        link = chains.get(id, getlink=True)
        if not isinstance(link, h5py.ExternalLink):
            raise
    shard = Path(chains.file.filename).parent / link.filename
    with open_hdf5(shard):
        raise DatasetError(f"{chains.file.filename}: {id} is linked to {shard}, which does not hold it")

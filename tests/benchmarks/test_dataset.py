"""The HDF5 data set: bytes a residue, write and read rates of the layouts tried, what limits them, peak memory.

Real chains and real alignments; processor time, best of three, of one process; MB are of the arrays, uncompressed.
"""

import os
import time
import zlib

import h5py
import numpy as np
import pytest
from measure import ROOT, cpu_seconds, print_table, run_python

from hardfold import dataset
from hardfold.alignment import choose_rows, read_a3m, read_alignment, single_row, write_a3m
from hardfold.dataset import Dataset
from hardfold.geometry import backbone_angles, contact_map, distance_map
from hardfold.hdf5 import open_hdf5, whole_hdf5
from hardfold.structure.chain import load_chains, read_sequences, save_chains
from hardfold.structure.parse import read_chain, read_model

SHARED = ROOT.parent / "shared/data"
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(
        not SHARED.is_dir(), reason="the shared structures and alignments are not beside the repository"
    ),
]
NATIVES = ("natives_casp14", "natives_backbone_casp14")
COMPACT, DEFAULT = ("v110", "v110"), None
SHUFFLED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
FILTERS = {
    "none": {},
    "gzip 1": {"compression": "gzip", "compression_opts": 1},
    "gzip 1, shuffle": SHUFFLED,
    **{f"gzip {level}, shuffle": SHUFFLED | {"compression_opts": level} for level in (2, 4, 6, 9)},
    "lzf": {"compression": "lzf"},
    "lzf, shuffle": {"compression": "lzf", "shuffle": True},
}
CHUNKS = {
    "whole": lambda shape: shape,
    "auto": lambda shape: True,
    "32 rows": lambda shape: (min(32, shape[0]), shape[1]),
    "128 rows": lambda shape: (min(128, shape[0]), shape[1]),
    "128 x 128": lambda shape: tuple(min(128, size) for size in shape),
}


@pytest.fixture(scope="module")
def chains(pdb_files):
    """Every sixteenth of them."""
    return [read_chain(path, path.stem.split("_")[1], id=path.stem) for path in pdb_files[::16]]


@pytest.fixture(scope="module")
def casp(tmp_path_factory):
    """A folder with structures.h5, <target>.a3m and shard.h5: CASP14 natives with their real alignments."""
    folder, found = tmp_path_factory.mktemp("casp"), []
    for path in sorted((SHARED / "msa/deepdist_casp14/DeepMSA_ALN").glob("*.aln")):
        natives = [SHARED / f"casp/{folder}/{path.stem}.pdb" for folder in NATIVES]
        native = next((native for native in natives if native.is_file()), None)
        # T1080's native is numbered otherwise.
        if native and path.stem != "T1080":
            alignment = read_alignment(path)
            found.append(read_model(native, alignment.query, path.stem))
            write_a3m(folder / f"{path.stem}.a3m", alignment)
    save_chains(folder / "structures.h5", found)
    build_casp(folder)
    return folder


def build_casp(folder, selection="diverse"):
    dataset.build_shard(folder / "structures.h5", folder, folder / "shard.h5", max_rows=256, selection=selection)


def rate(values, function):
    """MB of the arrays a second of processor time."""
    return f"{sum(value.nbytes for value in values) / 1e6 / cpu_seconds(function):.0f}"


def measure_layout(path, values, libver, chunks, filters):
    """Bytes in the file, write rate, read rate of 2-D arrays stored in this way."""

    def write():
        with h5py.File(path, "w", libver=libver) as file:
            for index, value in enumerate(values):
                chunk = CHUNKS[chunks](value.shape) if filters else None
                file.create_dataset(str(index), data=value, chunks=chunk, **filters)

    def read():
        with h5py.File(path) as file:
            for index in range(len(values)):
                file[str(index)][()]

    write_rate, read_rate = rate(values, write), rate(values, read)
    return path.stat().st_size, write_rate, read_rate


def test_filters_chunks_and_types(chains, casp, tmp_path):
    distances = [distance_map(chain.coordinates, chain.sequence) for chain in chains]
    alignments = [read_a3m(path).rows for path in sorted(casp.glob("*.a3m"))]
    arrays = {
        "contact_map uint8": [contact_map(values) for values in distances],
        "distance_map float16": [values.astype(np.float16) for values in distances],
        "distance_map float32": distances,
        "msa uint8, 256 rows": [rows[choose_rows(rows, 256)] for rows in alignments if len(rows) >= 256],
    }
    layouts = [("compact", "whole", name) for name in FILTERS]
    layouts += [("compact", chunks, "gzip 1, shuffle") for chunks in CHUNKS if chunks != "whole"]
    layouts += [("default", "whole", "gzip 1, shuffle"), ("default", "auto", "gzip 1, shuffle")]
    for name, values in arrays.items():
        residues = sum(value.shape[1] for value in values)
        raw, rows = sum(value.nbytes for value in values), []
        for file_format, chunks, filters in layouts:
            libver = COMPACT if file_format == "compact" else DEFAULT
            size, *rates = measure_layout(tmp_path / "a.h5", values, libver, chunks, FILTERS[filters])
            chunks = chunks if FILTERS[filters] else "contiguous"
            rows.append([filters, chunks, file_format, f"{size / residues:.1f}", f"{size / raw:.3f}", *rates])
        title = f"{name}: {len(values)} arrays, {residues / len(values):.0f} residues on average"
        print_table(
            title, ["filters", "chunks", "file format", "bytes a residue", "share", "write MB/s", "read MB/s"], rows
        )


def test_crops(chains, tmp_path):
    crop, generator, rows = 256, np.random.default_rng(0), []
    for length in (300, 500, 832, 1022, 2000):
        distances = distance_map(*side_by_side(chains, length)).astype(np.float16)
        for name, side in (("whole", length), ("equal parts of at most 512", None), ("256", 256), ("128", 128)):
            side = side or -(-length // -(-length // 512))
            with h5py.File(tmp_path / "a.h5", "w", libver=COMPACT) as file:
                file.create_dataset("map", data=distances, chunks=(min(side, length),) * 2, **SHUFFLED)
            parts = [slice(start, start + crop) for start in generator.integers(0, length - crop, 8)]
            seconds = [read_parts(tmp_path / "a.h5", kind) for kind in ([slice(None)] * 8, parts)]
            rows.append([length, name, *(f"{one * 1e3:.2f}" for one in seconds)])
    print_table(
        f"distance_map float16, a crop of {crop} residues (real chains laid side by side)",
        ["residues", "chunks", "whole map ms", "crop ms"],
        rows,
    )


def read_parts(path, parts):
    """Seconds for each of them; a map opened anew has none of its chunks in memory."""
    with h5py.File(path) as file:
        return cpu_seconds(lambda: [file["map"][part, part] for part in parts]) / len(parts)


def side_by_side(chains, length):
    """Coordinates and sequence of `length` residues: real chains, 30 angstrom apart."""
    parts, sequence = [], ""
    while len(sequence) < length:
        chain = chains[len(parts)]
        parts.append(chain.coordinates - np.nanmean(chain.coordinates, axis=(0, 1)) + 30 * len(parts))
        sequence += chain.sequence
    return np.concatenate(parts)[:length], sequence[:length]


def test_alignment_rows(casp, tmp_path):
    alignments = [read_a3m(path).rows for path in sorted(casp.glob("*.a3m"))]
    alignments = [rows[choose_rows(rows, 1024)] for rows in alignments if len(rows) >= 1024]
    table = []
    for name, block in (("whole", 1024), ("128 rows", 128), ("64 rows", 64), ("16 rows", 16)):
        with h5py.File(tmp_path / "a.h5", "w", libver=COMPACT) as file:
            for index, rows in enumerate(alignments):
                file.create_dataset(str(index), data=rows, chunks=(block, rows.shape[1]), **SHUFFLED)
        with h5py.File(tmp_path / "a.h5") as file:
            seconds = [
                cpu_seconds(lambda count=count: [array[:count] for array in file.values()]) / len(alignments)
                for count in (1024, 128, 16)
            ]
        share = (tmp_path / "a.h5").stat().st_size / sum(rows.nbytes for rows in alignments)
        table.append([name, f"{share:.3f}", *(f"{one * 1e3:.2f}" for one in seconds)])
    title = f"msa of 1,024 rows: {len(alignments)} real alignments, {alignments[0].shape[1]} columns and more"
    print_table(title, ["chunks", "share", "all rows ms", "first 128 ms", "first 16 ms"], table)


def test_overhead_of_the_file(casp, tmp_path):
    def copy(libver, text):
        with h5py.File(casp / "shard.h5") as source, h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
            for id, group in source["chains"].items():
                for name, array in group.items():
                    options = SHUFFLED | {"chunks": array.chunks} if array.chunks else {}
                    value = text(array.asstr()[()]) if array.dtype.kind == "O" else array[()]
                    file.create_dataset(f"chains/{id}/{name}", data=value, **options)
        with h5py.File(tmp_path / "a.h5") as file:
            held = [array for group in file["chains"].values() for array in group.values()]
            payload = sum(len(a[()]) if a.dtype.kind in "OS" else a.id.get_storage_size() for a in held)
            return (tmp_path / "a.h5").stat().st_size - payload, len(file["chains"])

    rows = []
    for name, libver, text in (
        ("default, text of variable length", DEFAULT, str),
        ("compact (1.10), text of variable length", COMPACT, str),
        ("compact (1.10), text of fixed length", COMPACT, np.bytes_),
        ("latest, text of variable length", "latest", str),
    ):
        overhead, count = copy(libver, text)
        rows.append([name, f"{overhead / count:.0f}"])
    print_table("What the file holds beside the arrays", ["file format", "bytes a chain"], rows)


def test_what_limits_writing_and_reading(casp):
    chains, shard = load_chains(casp / "structures.h5"), Dataset(casp / "shard.h5")
    records = list(shard)
    maps = [distance_map(chain.coordinates, chain.sequence) for chain in chains.values()]
    stored = [(record.contact_map, record.distance_map.astype(np.float16), record.msa) for record in records]
    shuffled = [[shuffle(values) for values in arrays] for arrays in stored]
    deflated = [[zlib.compress(values, 1) for values in arrays] for arrays in shuffled]
    alignments = {id: read_a3m(casp / f"{id}.a3m").rows for id in chains}
    size, count = (casp / "shard.h5").stat().st_size, len(records)
    raw = sum(values.nbytes for arrays in stored for values in arrays)
    steps = {
        "build_shard, rows `top`": lambda: build_casp(casp, "top"),
        "build_shard, rows `diverse`": lambda: build_casp(casp, "diverse"),
        "of it reading a3m": lambda: [read_a3m(casp / f"{id}.a3m") for id in chains],
        "of it choosing diverse rows": lambda: [choose_rows(rows, 256) for rows in alignments.values()],
        "of it maps and angles": lambda: [
            (contact_map(distance_map(chain.coordinates, chain.sequence)), backbone_angles(chain.coordinates))
            for chain in chains.values()
        ],
        "of it deflate (zlib 1)": lambda: [zlib.compress(v, 1) for arrays in shuffled for v in arrays],
        "reading every chain": lambda: [shard[id] for id in shard.ids],
        "of it opening the file": lambda: [open_hdf5(shard.path).close() for _ in records],
        "of it inflate": lambda: [zlib.decompress(v) for arrays in deflated for v in arrays],
        "distance maps computed, not read": lambda: [
            distance_map(chain.coordinates, chain.sequence) for chain in chains.values()
        ],
    }
    rows = []
    for name, step in steps.items():
        seconds = cpu_seconds(step)
        rows.append([name, f"{seconds / count * 1e3:.2f}", f"{raw / 1e6 / seconds:.0f}"])
    walls = {
        "the disk: writing the shard's bytes, fsync": disk_seconds(casp / "shard.h5"),
        "chains in random order, cached": read_seconds(casp / "shard.h5", cached=True),
        "chains in random order, from the disk": read_seconds(casp / "shard.h5", cached=False),
    }
    for name, seconds in walls.items():
        rows.append([f"{name} (wall time)", f"{seconds / count * 1e3:.2f}", f"{raw / 1e6 / seconds:.0f}"])
    residues = sum(map(len, maps)) / count
    title = f"{count} chains of {residues:.0f} residues on average, {raw / 1e6:.1f} MB, stored {size / 1e6:.1f} MB"
    print_table(title, ["step", "ms a chain", "MB/s"], rows)


def shuffle(values):
    """The bytes as HDF5's shuffle filter hands them to deflate."""
    return values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T.tobytes()


def disk_seconds(path):
    content = path.read_bytes()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        with open(path.with_suffix(".copy"), "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        times.append(time.perf_counter() - start)
    return min(times)


def read_seconds(path, *, cached):
    shard, times = Dataset(path), []
    for seed in range(5):
        ids = np.random.default_rng(seed).permutation(shard.ids)
        if not cached:
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())  # what is not yet on the disk would stay in memory
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start = time.perf_counter()
        for id in ids:
            shard[id]
        times.append(time.perf_counter() - start)
    return min(times)


EXTRACT = """
import sys
from pathlib import Path
from hardfold.structure.quality import extract_shard
folder, table, output = map(Path, sys.argv[1:4])
ids = [line.split("\\t")[0] for line in table.read_text().splitlines()[1:]]
records = [{"id": id, "chain": id.split("_")[1][0], "auth_range": ""} for id in ids]
limits = {"min_length": 1, "max_length": 9999, "min_resolved": 0, "max_resolution": 9, "max_nonstandard": 1}
limits["methods"] = []
qc = output.with_suffix(".tsv")
extract_shard(records=records, folder=folder, downloads=table, limits=limits, chains=output, qc=qc)
"""
BUILD = """
import sys
from hardfold.dataset import build_shard
build_shard(*sys.argv[1:], max_rows=256, selection="diverse")
"""
JOIN = """
import sys
from pathlib import Path
from hardfold.dataset import join
join(list(Path(sys.argv[1]).iterdir()), sys.argv[2], {"train": sys.argv[3]}, {})
"""
READ = """
import sys
from hardfold.dataset import Dataset
for record in Dataset(sys.argv[1]):
    pass
"""
INSPECT = """
import sys
from hardfold.inspection import inspect
inspect(sys.argv[1])
"""


def test_peak_memory(pdb_files, tmp_path):
    """Of child processes, for N and 4 N chains."""
    rows = []
    for few, many, run in ((1000, 4000, run_on_chains), (25_000, 100_000, run_on_links)):
        found = {count: run(tmp_path / str(count), pdb_files, count) for count in (few, many)}
        for step in found[few]:
            first, second = found[few][step], found[many][step]
            growth = (second["peak_mb"] - first["peak_mb"]) / (many - few) * 1e3
            rows.append([step, few, many, *(f"{one['peak_mb']:.0f}" for one in (first, second)), f"{growth:.1f}"])
            rows[-1] += [f"{second['cpu']:.1f}"]
    header = ["step", "N", "4 N", "MB at N", "MB at 4 N", "kB a chain more", "CPU-s at 4 N"]
    print_table("Peak memory of a process", header, rows)


def run_on_chains(folder, pdb_files, count):
    """Extraction, building and reading of one shard of so many chains."""
    folder.mkdir()
    # Each file may be taken twice, under two ids.
    ids = {f"{file.stem}{copy}": file for copy in "12" for file in pdb_files}
    files, table = dict(list(ids.items())[:count]), folder / "downloads.tsv"
    header = ["id", "file", "numbering", "source", "sequence", "reason"]
    lines = [header, *([id, file.name, "", "mirror", "", ""] for id, file in files.items())]
    table.write_text("".join("\t".join(line) + "\n" for line in lines))
    structures, shard = folder / "structures.h5", folder / "shard.h5"
    extracted = run_python(EXTRACT, pdb_files[0].parent, table, structures)
    for id, (sequence, _) in read_sequences(structures).items():
        write_a3m(folder / f"{id}.a3m", single_row(sequence))
    built = run_python(BUILD, structures, folder, shard)
    return {"extract_shard": extracted, "build_shard": built, "reading every chain": run_python(READ, shard)}


def run_on_links(folder, _, count):
    """Joining and inspecting shards of 100 chains each; the chains are empty groups."""
    shards, assignment, joined = folder / "shards", folder / "assignment.tsv", folder / "train.h5"
    shards.mkdir(parents=True)
    ids = [f"{number:06}_A" for number in range(count)]
    for start in range(0, count, 100):
        with whole_hdf5(shards / f"chains{start // 100:04}.h5") as file:
            file.attrs.update(source_hashes="", config_hash="")
            for id in ids[start : start + 100]:
                file.create_group(f"chains/{id}")
    assignment.write_text("chain\tsplit\n" + "".join(f"{id}\ttrain\n" for id in ids))
    return {"join": run_python(JOIN, shards, assignment, joined), "inspect": run_python(INSPECT, joined)}

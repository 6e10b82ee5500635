"""Structure files to arrays: parse, sequence, coordinates, maps, angles and quality control, against Biopython.

Processor time of one process on one core. The baseline is what one would write: Bio.PDB's parser, a loop over its
residues, the distance map by numpy broadcasting. Virtual CB, contact map, angles and quality control are our code on
both sides, and only hardfold checks the file, so the ratio is not flattered.
"""

import gc
import time
from functools import partial

import numpy as np
import pytest
import yaml
from Bio.PDB import MMCIFParser, PDBParser
from Bio.SeqUtils import seq1
from measure import ROOT, cpu_seconds, print_table

from hardfold.geometry import ATOMS, backbone_angles, contact_map, distance_map, map_atoms
from hardfold.structure.chain import Chain
from hardfold.structure.files import parse_file
from hardfold.structure.parse import Entry
from hardfold.structure.quality import drop_reason, unknown_fields

SHARED = ROOT.parent / "shared/data"
LIMITS = yaml.safe_load((ROOT / "config/config.yaml").read_text())["structures"]
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared structures are not beside the repository"),
]


def read(path):
    """Every protein chain of the file."""
    entry = Entry(path)
    return [entry.chain(name) for name in entry.chains]


def read_by_biopython(path):
    """The same chains with the same contents as far as Biopython knows them, without checks."""
    parser = MMCIFParser(QUIET=True) if path.suffix == ".cif" else PDBParser(QUIET=True)
    structure = parser.get_structure(path.stem, path)
    return [_from_biopython(chain, structure.header) for chain in structure[0]]


def _from_biopython(chain, header):
    residues = [residue for residue in chain if residue.id[0] == " "]
    coordinates = np.full((len(residues), len(ATOMS), 3), np.nan, dtype=np.float32)
    for place, residue in enumerate(residues):
        for slot, name in enumerate(ATOMS):
            if name in residue:
                coordinates[place, slot] = residue[name].coord
    return Chain.from_atoms(
        chain.id,
        "".join(seq1(residue.resname) for residue in residues),
        coordinates,
        auth_numbers=tuple(f"{residue.id[1]}{residue.id[2].strip()}" for residue in residues),
        method=header["structure_method"],
        resolution=header["resolution"],
    )


def distances_by_numpy(coordinates, sequence):
    atoms = map_atoms(coordinates, sequence)
    return np.linalg.norm(atoms[:, None] - atoms[None], axis=-1)


def quality_control(chain):
    return drop_reason(chain, LIMITS), unknown_fields(chain)


def process(reader, distances, path):
    for chain in reader(path):
        contact_map(distances(chain.coordinates, chain.sequence))
        backbone_angles(chain.coordinates)
        quality_control(chain)


ours, baseline = partial(process, read, distance_map), partial(process, read_by_biopython, distances_by_numpy)


def milliseconds(items, *functions):
    """Milliseconds an item of each function: they take turns on 30 items, and the best of three turns counts."""
    total = np.zeros(len(functions))
    for start in range(0, len(items), 30):
        part = items[start : start + 30]
        turns = [[_seconds(function, part) for function in functions] for _ in range(3)]
        total += np.min(turns, axis=0)
    return total / len(items) * 1000


def _seconds(function, items):
    start = time.process_time()
    for item in items:
        function(item)
    return time.process_time() - start


def test_parse_geometry_and_quality_control(pdb_files):
    sample = pdb_files[::16]
    chains = [chain for path in sample for chain in read(path)]
    arrays = [(chain.coordinates, chain.sequence) for chain in chains]
    (structure,) = milliseconds(sample, parse_file)
    (angles,) = milliseconds(chains, lambda chain: backbone_angles(chain.coordinates))
    (contacts,) = milliseconds([distance_map(*pair) for pair in arrays], contact_map)
    (control,) = milliseconds(chains, quality_control)
    stages = {
        "file to chain": milliseconds(sample, read, read_by_biopython),
        "distance map": milliseconds(arrays, lambda pair: distance_map(*pair), lambda pair: distances_by_numpy(*pair)),
        "contact map": (contacts, contacts),
        "angles": (angles, angles),
        "quality control": (control, control),
        "all, in one go": milliseconds(sample, ours, baseline),
    }
    gc.disable()
    stages["all, Python's garbage collector off"] = milliseconds(sample, ours, baseline)
    gc.enable()
    residues = np.mean([len(chain.sequence) for chain in chains])
    print_table(
        f"{len(sample)} PDB files of a chain each, {residues:.0f} residues on average: milliseconds a chain",
        ["stage", "hardfold", "Biopython", "ratio"],
        [[stage, f"{a:.2f}", f"{b:.2f}", f"{b / a:.1f}"] for stage, (a, b) in stages.items()],
    )
    rate = len(pdb_files) / cpu_seconds(lambda: [ours(path) for path in pdb_files])
    print(f"\nOf `file to chain`, {structure:.2f} ms are the file, gemmi and the checks of the text.")
    print(f"All {len(pdb_files)} files one after the other: {rate:.0f} chains a second and core.")
    seconds, slow = stages["all, in one go"]
    assert rate >= 40 and slow >= 10 * seconds


def test_deposited_entries():
    rows = []
    for name in ("4uv3", "5yh2"):
        path = SHARED / f"mmcif/{name}.cif"
        fast, slow = milliseconds([path], read, read_by_biopython)
        size = path.stat().st_size / 1e6
        rows.append([name, f"{size:.1f} MB", len(read(path)), f"{fast:.0f}", f"{slow:.0f}", f"{slow / fast:.0f}"])
    print_table(
        "Every chain of a deposited mmCIF entry: milliseconds",
        ["entry", "file", "chains", "hardfold", "Biopython", "ratio"],
        rows,
    )

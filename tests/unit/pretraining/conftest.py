"""A small folder of packed data, from embedded chains, and the recipes of the preset `tiny`."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from hardfold.alignment import STATES
from hardfold.couplings import couplings, standardised
from hardfold.pretraining.packing import load_stretches, save_alignments, save_sequences, save_stretches
from hardfold.structure.parse import read_chain

ROOT = Path(__file__).parents[3]
STRUCTURES = ROOT / "resources/demo/structures"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """`select_data`'s layout: six chains to train on, three to validate on."""
    folder = tmp_path_factory.mktemp("pretraining")
    chains = {}
    for file in sorted(STRUCTURES.glob("*.cif.gz")):
        chain_id = next(line for line in _lines(file) if line.startswith("1 polypeptide(L)")).split()[2]
        chain = read_chain(file, chain_id, id=f"{file.name[:4]}_{chain_id}")
        resolved = np.flatnonzero(chain.mask)
        if len(resolved) >= 64:
            # The stretch that promod3-data holds: it has no gap.
            sequence = "".join(chain.sequence[position] for position in resolved)
            shares = np.eye(20)[STATES[np.frombuffer(sequence.encode(), np.uint8)] % 20]
            coordinates = chain.coordinates[resolved, :4]
            chains[chain.id] = SimpleNamespace(sequence=sequence, coordinates=coordinates, profile=shares)
        if len(chains) == 9:
            break
    for group, names in (("train", sorted(chains)[:6]), ("validation", sorted(chains)[6:])):
        sequences = {name: chains[name].sequence for name in names}
        save_sequences(folder, group, sequences, {name: number for number, name in enumerate(names)})
        save_stretches(folder, group, {name: chains[name] for name in names})
    return folder


@pytest.fixture(scope="session")
def alignments(data, tmp_path_factory):
    """`build_alignments`' layout: for each chain but the first of a group, of the last nothing found but itself."""
    folder = tmp_path_factory.mktemp("alignments")
    for group in ("train", "validation"):
        *aligned, lonely = list(load_stretches(data, group).values())[1:]
        save_alignments(folder, group, [*map(_alignment, aligned), _alignment(lonely, rows=1)])
    return folder


def _alignment(chain, rows=3):
    query = np.frombuffer(chain.sequence.encode(), np.uint8)
    aligned = np.stack([query, np.roll(query, 1), query])[:rows]
    return chain.id, aligned, standardised(couplings(aligned))


@pytest.fixture
def tiny():
    """Name -> settings of the models of the preset."""
    return yaml.safe_load((ROOT / "config/pretraining.yaml").read_text())["pretraining"]["presets"]["tiny"]["models"]


def _lines(path):
    with gzip.open(path, "rt") as handle:
        yield from handle

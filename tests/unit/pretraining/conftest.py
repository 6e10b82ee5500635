"""A small data file of the recipes, from embedded chains."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from hardfold.structure.parse import read_chain

STRUCTURES = Path(__file__).parents[3] / "resources/demo/structures"


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """`select_data`'s layout: six chains to train on, three to validate on."""
    path = tmp_path_factory.mktemp("pretraining") / "data.h5"
    chains = {}
    for file in sorted(STRUCTURES.glob("*.cif.gz")):
        chain_id = next(line for line in _lines(file) if line.startswith("1 polypeptide(L)")).split()[2]
        chain = read_chain(file, chain_id, id=f"{file.name[:4]}_{chain_id}")
        resolved = np.flatnonzero(chain.mask)
        if len(resolved) >= 64:
            # The stretch that promod3-data holds: it has no gap.
            sequence = "".join(chain.sequence[position] for position in resolved)
            chains[chain.id] = (sequence, chain.coordinates[resolved, :4])
        if len(chains) == 9:
            break
    with h5py.File(path, "w") as store:
        for group, names in (("train", sorted(chains)[:6]), ("validation", sorted(chains)[6:])):
            sequences = [chains[name][0] for name in names]
            store[f"{group}/residues"] = np.frombuffer("".join(sequences).encode(), np.uint8)
            store[f"{group}/lengths"] = np.array([len(sequence) for sequence in sequences], np.int32)
            for name in names:
                store[f"{group}/chains/{name}/sequence"], store[f"{group}/chains/{name}/coordinates"] = chains[name]
    return path


def _lines(path):
    with gzip.open(path, "rt") as handle:
        yield from handle

"""Control control_shuffled_labels: the training chains, each with the structure of another one.

What a model learns from them is what proteins look like, never how a sequence folds: an arm that gains no more than
this control has not learnt the latter. (Residues in random order would be no proteins at all, and easier to beat.)
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from hardfold import tables
from hardfold.arms import SHUFFLED
from hardfold.dataset import replace_structures
from hardfold.structure.chain import Chain, load_chains

BLOCK = 500  # chains among which donors are exchanged: the time of the assignment grows with the third power


class ShuffleError(ValueError):
    """Chains that cannot exchange their structures."""


def shuffle_labels(dataset: Path, assignment: Path, output: Path, seed: int) -> None:
    """Write to `output` the data set with its structures exchanged between chains of different clusters."""
    chains = load_chains(dataset)
    clusters = tables.read(assignment, ["cluster"], key="chain").set_index("chain")["cluster"]
    lengths = {id: len(chain.sequence) for id, chain in chains.items()}
    donors = choose_donors(lengths, clusters.to_dict(), seed, SHUFFLED)
    logging.info("structure of: %s", ", ".join(f"{id} from {donor}" for id, donor in donors.items()))
    replace_structures(dataset, {id: with_structure(chains[id], chains[donors[id]]) for id in chains}, output)


def choose_donors(lengths: Mapping[str, int], groups: Mapping[str, str], seed: int, arm: str) -> dict[str, str]:
    """Id -> another id of like length and another group; each is a donor once. Of equal choices the seed draws one.

    ShuffleError, naming the arm, where more than half of the chains of like length are of one group.
    """
    generator = np.random.default_rng(seed)
    ids = np.array(sorted(lengths, key=lambda id: (lengths[id], id)))
    donors = {}
    for block in np.array_split(ids, -(-len(ids) // BLOCK)):
        size = np.array([lengths[id] for id in block])
        group = np.array([groups[id] for id in block])
        cost = np.abs(size[:, None] - size) + generator.random((len(block), len(block)))
        cost[group[:, None] == group] = len(block) * (size.max() + 1)  # more than all other costs together
        rows, columns = linear_sum_assignment(cost)
        if len(alike := block[rows[group[rows] == group[columns]]]):
            raise ShuffleError(
                f"{arm}: no unrelated donor is left for {', '.join(alike)}; take the arm out of folding.arms, or add "
                "chains that are related to none of them"
            )
        donors |= dict(zip(block[rows].tolist(), block[columns].tolist(), strict=True))
    return dict(sorted(donors.items()))


def with_structure(chain: Chain, donor: Chain) -> Chain:
    """The chain's sequence with the donor's atoms from the first residue on; unresolved beyond the donor's end."""
    coordinates = np.full((len(chain.sequence), *donor.coordinates.shape[1:]), np.nan, dtype=np.float32)
    common = min(len(coordinates), len(donor.coordinates))
    coordinates[:common] = donor.coordinates[:common]
    coordinates[[letter == "G" for letter in chain.sequence], 4] = np.nan
    return Chain.from_atoms(chain.id, chain.sequence, coordinates)

"""Which chains a trained model has seen, so that none is started from a model that knows what is held out."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from hardfold import tables
from hardfold.dataset import chain_group
from hardfold.hdf5 import open_hdf5


class SeenChains(ValueError):
    """A checkpoint that was trained on chains which this run holds out; the message names both."""


def digests(chains: Path) -> dict[str, str]:
    """Chain of a data set -> the beginning of its sequence's sha256."""
    with open_hdf5(chains) as file:
        groups = file["chains"]
        sequences = {id: chain_group(groups, id)["sequence"][()] for id in sorted(groups)}
    return {id: hashlib.sha256(sequence).hexdigest()[:16] for id, sequence in sequences.items()}


def require_unseen(path: Path, seen: Iterable, assignment: Path, held_out: Iterable[Path]) -> None:
    """Raise SeenChains where `seen`, (chain, digest) of what the checkpoint `path` was trained on, has a chain that
    assignment.tsv holds out or dropped, or the sequence of a chain of the data sets `held_out`.
    """
    known: Mapping[str, str] = dict(seen)
    assigned = tables.read(assignment, key="chain").set_index("chain")["split"]
    found = {id for id in known if assigned.get(id, "train") != "train"}
    own = set(known.values())
    found |= {id for chains in held_out for id, digest in digests(chains).items() if digest in own}
    if found:
        names = sorted(found)
        raise SeenChains(
            f"checkpoint_path_to_load: {path} was trained on {len(names)} chains that this run holds out, or dropped "
            f"for what it holds out: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        )

"""The couplings of each chain's alignment, computed once for all experiments."""

from collections.abc import Sequence
from pathlib import Path

from hardfold.contact.embeddings import write_embeddings
from hardfold.contact.keys import COUPLINGS
from hardfold.couplings import couplings, standardised


def couple_chains(chains: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Write the standardised couplings, a map (1, L, L), of the chains of each data set."""
    for data, output in zip(chains, outputs, strict=True):
        write_embeddings(lambda rows: standardised(couplings(rows))[None], COUPLINGS, data, output)

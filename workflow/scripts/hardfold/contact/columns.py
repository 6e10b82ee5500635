"""What the columns of each chain's alignment tell, their couplings and their profile, computed once for all models."""

from collections.abc import Sequence
from pathlib import Path

from hardfold.alignment import log_odds, profile
from hardfold.contact.embeddings import write_embeddings
from hardfold.contact.keys import COUPLINGS, PROFILE
from hardfold.couplings import couplings, standardised

# By the key of its entry how each is computed of the rows of an alignment.
COMPUTE = {
    COUPLINGS["key"]: (COUPLINGS, lambda rows: standardised(couplings(rows))[None]),  # a map (1, L, L)
    PROFILE["key"]: (PROFILE, lambda rows: log_odds(profile(rows))),  # (L, 21)
}


def describe_columns(content: str, chains: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Write `content`, `couplings` (standardised) or `profile` (log odds), of the chains of each data set."""
    embedding, compute = COMPUTE[content]
    for data, output in zip(chains, outputs, strict=True):
        write_embeddings(compute, embedding, data, output)

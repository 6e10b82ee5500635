"""What an alignment says of each column alone. N rows, L columns."""

import numpy as np

from hardfold.alignment.diversity import weights

LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)
# ASCII -> the number of its letter; a gap and any other letter are one more state, the last.
STATES = np.full(256, len(LETTERS), np.uint8)
STATES[LETTERS] = np.arange(len(LETTERS))
WIDTH = len(LETTERS) + 1


def profile(rows: np.ndarray) -> np.ndarray:
    """(L, 21) float32 share of each residue, and of gaps, in the columns of `rows` (N, L) uint8 ASCII; each column's
    shares sum to 1. Rows weigh as in `weights`."""
    share = weights(rows)
    share /= share.sum()
    states = STATES[rows]
    return np.stack([share @ (states == state) for state in range(WIDTH)], axis=1).astype(np.float32)


def log_odds(shares: np.ndarray, pseudocount: float = 0.1) -> np.ndarray:
    """A profile (L, 21) as log2 of each residue's share over 1/20, of which `pseudocount` is mixed in; the share of
    gaps stays as it is."""
    odds = (1 - pseudocount) * shares[:, :-1] * len(LETTERS) + pseudocount
    return np.concatenate([np.log2(odds), shares[:, -1:]], axis=1)

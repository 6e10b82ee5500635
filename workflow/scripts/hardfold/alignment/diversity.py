"""How deep an alignment is and which of its rows to keep: rows compared 64 columns at a time, as bits.

Measured in docs/benchmarks/alignments.md against one-hot matrix products and letters compared one by one.
"""

import math
import tempfile
from pathlib import Path

import numpy as np

from hardfold.alignment.formats import GAP, UNKNOWN, Alignment, read_a3m, write_a3m
from hardfold.tools import run_tool

NEFF_BANDS = {"<10": (0, 10), "10-30": (10, 30), "30-100": (30, 100), ">=100": (100, math.inf)}  # and their ends
_BLOCK = 64, 2048  # rows compared with rows at a time: the words of one column stay in the processor's cache


def neff(rows: np.ndarray, identity: float = 0.8) -> float:
    """Effective number of sequences of `rows` (N, L): the sum of their `weights`."""
    return float(weights(rows, identity).sum())


def neff_band(neff: float) -> str:
    """Band of NEFF_BANDS of an alignment of so many effective sequences."""
    return next(band for band, (start, end) in NEFF_BANDS.items() if start <= neff < end)


def weights(rows: np.ndarray, identity: float = 0.8) -> np.ndarray:
    """(N,) float64 weight of each of `rows` (N, L): 1 / (rows at least `identity` alike, itself included). Identity
    counts equal residues over the columns where both rows have one; gaps and X are none.
    """
    planes, residues = _planes(rows), _words((rows != GAP) & (rows != UNKNOWN))
    neighbours = np.ones(len(rows))  # each row is its own
    height, width = _BLOCK
    for start in range(0, len(rows), height):
        first = slice(start, start + height)
        for other in range(start, len(rows), width):
            second = slice(other, other + width)
            alike = _alike(planes, residues, first, second, identity)
            if other == start:
                alike = np.triu(alike, 1)  # each pair once, none with itself
            neighbours[first] += alike.sum(1)
            neighbours[second] += alike.sum(0)
    return 1 / neighbours


def _alike(planes, residues, first, second, identity):
    """Slices of B and C rows -> (B, C) bool: equal in at least `identity` of the columns where both have a residue."""
    shared = different = np.int32(0)
    for word, known in enumerate(residues):
        both = known[first, None] & known[second]
        unlike = planes[0, word, first, None] ^ planes[0, word, second]
        for plane in planes[1:, word]:
            unlike |= plane[first, None] ^ plane[second]
        shared = shared + np.bitwise_count(both)
        different = different + np.bitwise_count(both & unlike)
    return (shared > 0) & (shared - different >= identity * shared)


def _planes(rows):
    """(N, L) ASCII -> (5, W, N) uint64: the five bits of each letter's number in the alphabet, 0 for a gap."""
    numbers = np.where(rows == GAP, 0, rows & 31)
    return np.stack([_words(numbers >> bit & 1) for bit in range(5)])


def _words(bits):
    """(N, L) of 0 and 1 -> (W, N) uint64."""
    packed = np.packbits(bits, axis=1)
    packed = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    return np.ascontiguousarray(packed.view(np.uint64).T)


def choose_rows(rows: np.ndarray, count: int, method: str = "diverse") -> np.ndarray:
    """Indices of at most `count` rows of `rows` (N, L), the query first, in the order of choice: the first k of them
    are the choice for k.

    diverse: greedy maximum diversity (MSA Transformer, Rao et al. 2021, appendix A.2): the query, then repeatedly the
    row with the largest mean Hamming distance to those chosen, a gap being a letter like any other; of equals the
    uppermost. hhfilter: the same among the rows that `hhfilter -diff count` keeps (Rao et al.'s other way); it also
    drops rows more than 90 % identical, so fewer may remain. top: the first ones. Raises ToolError for hhfilter.
    """
    match method:
        case "top":
            return np.arange(min(count, len(rows)))
        case "diverse":
            return _most_diverse(rows, count)
        case "hhfilter":
            kept = _hhfilter(rows, count)
            return kept[_most_diverse(rows[kept], count)]
    raise ValueError(f"{method!r} is not diverse, hhfilter or top")


def _most_diverse(rows, count):
    planes = _planes(rows)
    chosen, distance = [0], np.zeros(len(rows), np.int64)
    is_open = np.ones(len(rows), bool)
    for _ in range(min(count, len(rows)) - 1):
        is_open[chosen[-1]] = False
        unlike = planes[0] ^ planes[0, :, chosen[-1], None]
        for plane in planes[1:]:
            unlike |= plane ^ plane[:, chosen[-1], None]
        distance += np.bitwise_count(unlike).sum(0, dtype=np.int64)
        chosen.append(int(np.where(is_open, distance, -1).argmax()))
    return np.array(chosen)


def _hhfilter(rows, count):
    with tempfile.TemporaryDirectory() as folder:
        given, kept = Path(folder, "given.a3m"), Path(folder, "kept.a3m")
        write_a3m(given, Alignment(tuple(map(str, range(len(rows)))), rows))
        run_tool("hhfilter", "-v", 1, "-maxseq", len(rows) + 1, "-i", given, "-o", kept, "-diff", count)
        return np.array([int(name) for name in read_a3m(kept).names])

"""Multiple sequence alignments: files read and written, effective depth, choice of rows, profiles.

N rows, L match columns (the query's residues), W words of 64 columns.
"""

from hardfold.alignment.diversity import choose_rows, neff, weights
from hardfold.alignment.formats import (
    GAP,
    SUFFIXES,
    Alignment,
    AlignmentError,
    read_a3m,
    read_alignment,
    single_row,
    write_a3m,
)
from hardfold.alignment.profile import STATES, WIDTH, log_odds, profile

__all__ = [
    "GAP",
    "STATES",
    "SUFFIXES",
    "WIDTH",
    "Alignment",
    "AlignmentError",
    "choose_rows",
    "log_odds",
    "neff",
    "profile",
    "read_a3m",
    "read_alignment",
    "single_row",
    "weights",
    "write_a3m",
]

"""Multiple sequence alignments: files read and written, effective depth, choice of rows.

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

__all__ = [
    "GAP",
    "SUFFIXES",
    "Alignment",
    "AlignmentError",
    "choose_rows",
    "neff",
    "read_a3m",
    "read_alignment",
    "single_row",
    "weights",
    "write_a3m",
]

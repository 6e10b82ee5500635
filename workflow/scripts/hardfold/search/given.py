"""Alignments that a user has, whatever made them, found by the chain's id."""

from pathlib import Path

import numpy as np

from hardfold.alignment import SUFFIXES, Alignment, read_alignment

# AlphaFold's order; OpenFold and OpenProteinSet name their files so.
_ORDER = ("uniref90_hits", "bfd_uniclust_hits", "bfd_uniref_hits", "small_bfd_hits", "mgnify_hits", "uniclust30")
_TEMPLATES = ("hmm_output", "pdb_hits")  # alignments to structures, not of homologues


def read_given(folder: Path, chain: str, sequence: str) -> Alignment | None:
    """The alignment of `folder`/<chain>.a3m, .sto or .aln, or that of the files in `folder`/<chain>/ and its a3m/, in
    the query's columns, joined in a fixed order without repeated rows; None where there is none.

    Raises AlignmentError where a file is faulty or its query is not `sequence`.
    """
    alignments = [read_alignment(path, sequence) for path in _find(Path(folder), chain)]
    if len(alignments) < 2:
        return alignments[0] if alignments else None
    names = [name for alignment in alignments for name in alignment.names]
    rows = np.concatenate([alignment.rows for alignment in alignments])
    _, first = np.unique(rows, axis=0, return_index=True)
    first.sort()
    return Alignment(tuple(names[index] for index in first), rows[first])


def _find(folder, chain):
    for suffix in SUFFIXES:
        if (path := folder / f"{chain}{suffix}").is_file():
            return [path]
    places = [place for place in (folder / chain, folder / chain / "a3m") if place.is_dir()]
    paths = [path for place in places for path in place.iterdir() if path.suffix in SUFFIXES]
    rank = {name: number for number, name in enumerate(_ORDER)}
    return sorted(
        (path for path in paths if path.stem not in _TEMPLATES),
        key=lambda path: (rank.get(path.stem, len(rank)), path.name, path.parent.name),
    )

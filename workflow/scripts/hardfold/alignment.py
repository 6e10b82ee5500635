"""Multiple sequence alignments: a3m read and written, effective depth, and the choice of diverse rows.

N rows, L match columns (the query's residues).
"""

import string
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardfold.tables import whole_file

GAP = ord("-")
_UNKNOWN = ord("X")
_INSERTIONS = (string.ascii_lowercase + ".").encode()
_MATCHES = (string.ascii_uppercase + "-").encode()
_ANNOTATIONS = ("ss_pred", "ss_conf", "ss_dssp", "sa_dssp", "sa_pred")  # HH-suite's rows that are no sequences
_BLOCK = 512


class AlignmentError(ValueError):
    """An alignment that cannot be used; the message names the file, the row and the fault."""


@dataclass(frozen=True)
class Alignment:
    """`names` (N,) and `rows` (N, L) uint8 ASCII, A-Z and '-'; row 0 is the query."""

    names: tuple[str, ...]
    rows: np.ndarray

    @property
    def query(self) -> str:
        """The query's sequence, L letters."""
        return self.rows[0].tobytes().decode()


def read_a3m(path: Path, query: str | None = None) -> Alignment:
    """Match columns of an a3m file; insertions (lower case, '.') are dropped, comments and annotations skipped.

    Raises AlignmentError for empty or ragged input, for letters that are no residue, and where row 0 is not `query`.
    """
    names, rows = [], []
    for name, sequence in _records(path):
        row = sequence.translate(None, _INSERTIONS)
        if strange := row.translate(None, _MATCHES):
            column = row.index(strange[0]) + 1
            raise AlignmentError(f"{path}: row {len(rows)} ({name}): {chr(strange[0])!r} in column {column}")
        if rows and len(row) != len(rows[0]):
            raise AlignmentError(
                f"{path}: row {len(rows)} ({name}) has {len(row)} match columns, the query has {len(rows[0])}"
            )
        names.append(name)
        rows.append(row)
    if not rows or not rows[0]:
        raise AlignmentError(f"{path}: no sequence")
    if b"-" in rows[0]:
        raise AlignmentError(f"{path}: row 0 ({names[0]}), the query, has a gap in column {rows[0].index(b'-') + 1}")
    alignment = Alignment(tuple(names), np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1))
    if query is not None and alignment.query != query:
        raise AlignmentError(f"{path}: row 0 ({names[0]}) {_difference(alignment.query, query)}")
    return alignment


def _records(path):
    """(name, sequence) of each record but annotations."""
    name, parts = None, []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), start=1):
        if line.startswith(b">"):
            yield from _record(name, parts)
            name, parts = (line[1:].split() or [b""])[0].decode(errors="replace"), []
        elif line.strip() and not line.startswith(b"#"):
            if name is None:
                raise AlignmentError(f"{path}, line {number}: a sequence before the first '>'")
            parts.append(line.strip())
    yield from _record(name, parts)


def _record(name, parts):
    if name is not None and not name.startswith(_ANNOTATIONS):
        yield name, b"".join(parts)


def _difference(found, expected):
    if len(found) != len(expected):
        return f"has {len(found)} residues, the chain {len(expected)}"
    position = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    return f"has {found[position]} at position {position + 1}, the chain {expected[position]}"


def write_a3m(path: Path, alignment: Alignment) -> None:
    """Write match columns, a line a row; the file appears whole."""
    records = (
        b">%s\n%s\n" % (name.encode(), row.tobytes()) for name, row in zip(alignment.names, alignment.rows, strict=True)
    )
    with whole_file(path) as temporary:
        temporary.write_bytes(b"".join(records))


def neff(rows: np.ndarray, identity: float = 0.8) -> float:
    """Effective number of sequences of `rows` (N, L): the sum over rows of 1 / (rows at least `identity` alike, itself
    included). Identity counts equal residues over the columns where both rows have one; gaps and X are none.
    """
    letters = np.setdiff1d(rows, [GAP, _UNKNOWN])
    neighbours = np.ones(len(rows))  # each row is its own
    for start in range(0, len(rows), _BLOCK):
        first = _one_hot(rows[start : start + _BLOCK], letters)
        for other in range(start, len(rows), _BLOCK):
            alike = _alike(first, _one_hot(rows[other : other + _BLOCK], letters), identity)
            if other == start:
                np.fill_diagonal(alike, False)
            else:
                neighbours[other : other + _BLOCK] += alike.sum(0)
            neighbours[start : start + _BLOCK] += alike.sum(1)
    return float((1 / neighbours).sum())


def _one_hot(rows, letters):
    """(B, L) -> (B, A, L) float32; float32 counts residues exactly up to 2^24."""
    return (rows[:, None, :] == letters[None, :, None]).astype(np.float32)


def _alike(first, second, identity):
    """(B, A, L), (C, A, L) -> (B, C) bool: identical in at least `identity` of the shared columns."""
    equal = first.reshape(len(first), -1) @ second.reshape(len(second), -1).T
    shared = first.sum(1) @ second.sum(1).T
    return (shared > 0) & (equal >= identity * shared)


def select_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most `count` diverse rows of `rows` (N, L), in the order of choice: the first k of them are the
    choice for k.

    Greedy maximum diversity (MSA Transformer, Rao et al. 2021, appendix A.2): the query, then repeatedly the row with
    the largest mean Hamming distance to those chosen, a gap being a letter like any other; of equals the uppermost.
    """
    chosen = [0]
    distance = np.zeros(len(rows), np.int64)
    is_open = np.ones(len(rows), bool)
    for _ in range(min(count, len(rows)) - 1):
        is_open[chosen[-1]] = False
        distance += np.count_nonzero(rows != rows[chosen[-1]], axis=1)
        chosen.append(int(np.where(is_open, distance, -1).argmax()))
    return np.array(chosen)

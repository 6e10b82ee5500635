"""Alignment files: a3m read and written, Stockholm, PSICOV's and Clustal's aln read."""

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardfold.tables import whole_file

GAP = ord("-")
UNKNOWN = ord("X")
_INSERTIONS = (string.ascii_lowercase + ".").encode()
_LETTERS = (string.ascii_uppercase + "-").encode()
_GAPS = bytes.maketrans(b"._~", b"---")  # Stockholm's and Clustal's
_ANNOTATIONS = ("ss_pred", "ss_conf", "ss_dssp", "sa_dssp", "sa_pred")  # HH-suite's rows that are no sequences
_BLOCK_LINE = re.compile(rb"(\S+)\s+(\S+)(?:\s+\d+)?\s*")  # Clustal may count residues at the end


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


def single_row(sequence: str) -> Alignment:
    """The query alone."""
    return Alignment(("query",), np.frombuffer(sequence.encode(), np.uint8)[None])


def read_a3m(path: Path, query: str | None = None) -> Alignment:
    """Match columns of an a3m file; insertions (lower case, '.') are dropped, comments and annotations skipped.

    Row 0 must be `query`, where an X, a residue of no standard letter, matches any letter; it is then `query` itself.
    Columns where row 0 has a gap are none of the query's and are dropped. Raises AlignmentError for empty or ragged
    input, for letters that are no residue, and where row 0 is another sequence, saying where they differ.
    """
    records = ((name, sequence.translate(None, _INSERTIONS)) for name, sequence in _fasta_records(path, _lines(path)))
    return _checked(path, records, query)


def read_alignment(path: Path, query: str | None = None) -> Alignment:
    """An alignment in the format of its suffix, one of SUFFIXES; the rest as in `read_a3m`.

    `.sto` is Stockholm, of which the first alignment is read. `.aln` is PSICOV's, an aligned sequence a line, or
    Clustal's, which begins with that word.
    """
    return SUFFIXES[Path(path).suffix](path, query)


def write_a3m(path: Path, alignment: Alignment) -> None:
    """Write match columns, a line a row; the file appears whole."""
    records = (
        b">%s\n%s\n" % (name.encode(), row.tobytes()) for name, row in zip(alignment.names, alignment.rows, strict=True)
    )
    with whole_file(path) as temporary:
        temporary.write_bytes(b"".join(records))


def _read_stockholm(path, query=None):
    lines = _lines(path)
    if not lines or not lines[0].startswith(b"# STOCKHOLM"):
        raise AlignmentError(f"{path}: does not begin with '# STOCKHOLM'")
    ends = [number for number, line in enumerate(lines) if line.startswith(b"//")]
    if not ends:
        raise AlignmentError(f"{path}: has no '//' at its end: cut short")
    return _checked(path, _block_records(path, lines[: ends[0]]), query)


def _read_aln(path, query=None):
    lines = _lines(path)
    if lines and lines[0].startswith(b"CLUSTAL"):
        lines[0] = b""
        return _checked(path, _block_records(path, lines), query)
    rows = (line.strip() for line in lines if line.strip())
    return _checked(path, ((f"row{number}", _residues(row)) for number, row in enumerate(rows)), query)


SUFFIXES = {".a3m": read_a3m, ".sto": _read_stockholm, ".aln": _read_aln}


def _lines(path):
    return Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()  # without a byte order mark


def _fasta_records(path, lines) -> Iterator[tuple[str, bytes]]:
    """(name, sequence) of each record but annotations."""
    name, parts = None, []
    for number, line in enumerate(lines, start=1):
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


def _block_records(path, lines):
    """(name, row) of lines `name residues`, in one block or more; comments and lines that begin blank are skipped."""
    parts = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and line[:1] not in (b"#", b" ", b"\t"):
            if not (found := _BLOCK_LINE.fullmatch(line)):
                raise AlignmentError(f"{path}, line {number}: not a name and a row of residues")
            parts.setdefault(found[1], []).append(found[2])
    return ((name.decode(errors="replace"), _residues(b"".join(row))) for name, row in parts.items())


def _residues(row):
    return row.upper().translate(_GAPS)


def _checked(path, records: Iterable[tuple[str, bytes]], query: str | None) -> Alignment:
    """The alignment of (name, row) records, in the query's columns."""
    names, rows = [], []
    for name, row in records:
        if strange := row.translate(None, _LETTERS):
            column = row.index(strange[0]) + 1
            raise AlignmentError(f"{path}: row {len(rows)} ({name}): {chr(strange[0])!r} in column {column}")
        if rows and len(row) != len(rows[0]):
            raise AlignmentError(f"{path}: row {len(rows)} ({name}) has {len(row)} columns, the query {len(rows[0])}")
        names.append(name)
        rows.append(row)
    if not rows or not rows[0].strip(b"-"):
        raise AlignmentError(f"{path}: no sequence")
    array = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)
    if b"-" in rows[0]:
        array = array[:, array[0] != GAP]
    if query is not None and (found := array[0].tobytes().decode()) != query:
        if difference := _difference(found, query):
            raise AlignmentError(f"{path}: row 0 ({names[0]}) {difference}")
        array = np.concatenate([single_row(query).rows, array[1:]])
    return Alignment(tuple(names), array)


def _difference(found, expected):
    """How the query differs from the chain's sequence, in words; empty if only where the chain has X."""
    lengths = "" if len(found) == len(expected) else f"has {len(found)} residues, the chain {len(expected)}"
    for position, (ours, theirs) in enumerate(zip(found, expected, strict=False), start=1):
        if theirs not in ("X", ours):
            return f"{lengths}{lengths and '; it '}has {ours} at position {position}, the chain {theirs}"
    return lengths

"""FASTA files from anywhere, made into what every search program reads."""

import gzip
import hashlib
import logging
import string
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hardfold.search.database import DatabaseError

_RESIDUES = string.ascii_uppercase.encode()
_NUCLEOTIDES = set(b"ACGTUN")
_LONGEST = 20_000  # residues that HH-suite reads


def clean_pool(pool: Path, output: Path) -> None:
    """Write the proteins of a FASTA file (gzipped, too) to `output`: a name without spaces and a line of capitals each.

    Made clean, with a word in the log: lower case, '*' at the end, '*' inside (then X), empty records, records longer
    than 20,000 residues (left out), names that are not ASCII, a name that stands twice (numbered; left out where the
    sequence is the same). Raises DatabaseError for everything else that is no FASTA of proteins, with its line.
    """
    if not pool.is_file():
        raise DatabaseError(f"{pool} is missing")
    done, letters, seen = Counter(), set(), {}
    with open(output, "wb") as file:
        for name, sequence in _records(pool, done):
            digest = hashlib.sha256(sequence).digest()[:8]
            if seen.get(name) == digest:
                done["records that stand twice left out"] += 1
                continue
            if name in seen:
                done["names that stand twice numbered"] += 1
                name = next(new for number in range(2, len(seen) + 3) if (new := b"%s_%d" % (name, number)) not in seen)
            seen[name] = digest
            letters.update(sequence)
            file.write(b">%s\n%s\n" % (name, sequence))
    for what, count in (+done).items():
        logging.warning("%s: %d %s", pool, count, what)
    if not seen:
        raise DatabaseError(f"{pool} holds no sequence")
    if letters <= _NUCLEOTIDES:
        raise DatabaseError(f"{pool} holds nucleotides, not proteins")
    logging.info("%s: %d sequences", pool, len(seen))


def _records(pool, done) -> Iterator[tuple[bytes, bytes]]:
    """(name, sequence) of each usable record; `done` counts what was made clean."""
    for number, header, parts in _raw_records(pool):
        name = (header.split() or [b"line%d" % number])[0]
        if not name.isascii():
            done["names that are not ASCII changed"] += 1
            name = name.decode(errors="replace").encode("ascii", "replace")
        raw = b"".join(parts)
        sequence = raw.upper()
        done["records in lower case made capitals"] += sequence != raw
        done["'*' at the end removed"] += sequence.endswith(b"*")
        sequence = sequence.rstrip(b"*")
        done["records with '*' inside, now X"] += b"*" in sequence
        sequence = sequence.replace(b"*", b"X")
        if strange := sequence.translate(None, _RESIDUES):
            position = sequence.index(strange[0]) + 1
            raise DatabaseError(
                f"{pool}, line {number}, record {name.decode()}: {chr(strange[0])!r} at position "
                f"{position} is no residue"
            )
        if not sequence:
            done["empty records left out"] += 1
        elif len(sequence) > _LONGEST:
            done[f"records longer than {_LONGEST} residues left out"] += 1
        else:
            yield name, sequence


def _raw_records(pool):
    """(line of the header, header, lines of residues) of each record."""
    number, header, parts = 0, None, []
    try:
        with _opened(pool) as file:
            for line_number, line in enumerate(file, start=1):
                for piece in line.splitlines():  # CR alone ends a line, too
                    if piece.startswith(b">"):
                        if header is not None:
                            yield number, header, parts
                        number, header, parts = line_number, piece[1:], []
                    elif piece.strip():
                        if header is None:
                            raise DatabaseError(f"{pool} is not FASTA: line {line_number} has no '>'")
                        parts.append(b"".join(piece.split()))
    except (EOFError, gzip.BadGzipFile, zlib.error) as fault:
        raise DatabaseError(f"{pool} is not a whole gzip file: {fault}") from None
    if header is not None:
        yield number, header, parts


def _opened(pool):
    with open(pool, "rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    return gzip.open(pool) if is_gzip else open(pool, "rb")

"""Search databases of every provider: complete or not, and what tells one from another."""

import hashlib
from pathlib import Path

from hardfold.jobs import DATABASE_FILES

_SAMPLES, _SAMPLE = 64, 1 << 16


class DatabaseError(ValueError):
    """A search database or pool that cannot be used; the message names what is missing."""


def check_database(provider: str, prefix: str) -> None:
    """Raise DatabaseError unless all files of the provider's database `prefix` are there and not empty."""
    faults = []
    for ending in DATABASE_FILES[provider]:
        file = Path(f"{prefix}{ending}")
        if not file.is_file():
            faults.append(f"{file} is missing")
        elif not file.stat().st_size:
            faults.append(f"{file} is empty")
    if faults:
        raise DatabaseError(
            f"the {provider} database {prefix} (alignments.database) is not complete: {', '.join(faults)}"
        )


def database_identity(provider: str, prefix: str) -> str:
    """sha256 over the sizes of the database's files and their content: all of a file up to 4 MiB, of a larger one 64
    blocks of 64 KiB, evenly spread from its beginning to its end. Another release, a file cut short or grown is
    another database; a change in place of a few letters in gigabytes, of equal length, may go unseen.
    """
    digest = hashlib.sha256()
    for ending in DATABASE_FILES[provider]:
        with open(f"{prefix}{ending}", "rb") as handle:
            size = handle.seek(0, 2)
            digest.update(b"%d\n" % size)
            if size <= _SAMPLES * _SAMPLE:
                handle.seek(0)
                digest.update(handle.read())
                continue
            for number in range(_SAMPLES):
                handle.seek(number * (size - _SAMPLE) // (_SAMPLES - 1))
                digest.update(handle.read(_SAMPLE))
    return digest.hexdigest()

"""Alignments found before, kept by what decides them: shared by jobs, runs and projects."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from hardfold.alignment import AlignmentError, read_a3m
from hardfold.search.provider import Provider

# Raised by one where our own code makes something else of what a program found.
_REVISION = 1


class Cache:
    """a3m files in `folder`, one for each sequence as searched by `provider`."""

    def __init__(self, folder: Path, provider: Provider):
        """Raises OSError for a folder that cannot be written to."""
        self.folder = Path(folder)
        self.decides = [_REVISION, provider.name, provider.version, provider.identity, provider.options]
        self.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=self.folder).cleanup()

    def path(self, sequence: str) -> Path:
        """Where the sequence's alignment lies or would lie."""
        key = hashlib.sha256(json.dumps([sequence, *self.decides]).encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.a3m"

    def holds(self, sequence: str) -> bool:
        """Whether the sequence's alignment is there and undamaged."""
        try:
            read_a3m(self.path(sequence), sequence)
        except (FileNotFoundError, AlignmentError):
            return False
        return True

    def put(self, sequence: str, found: Path) -> None:
        """Keep a copy of `found`, whole at once, whoever else writes it. Raises AlignmentError where it is faulty."""
        read_a3m(found, sequence)
        path = self.path(sequence)
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as folder:
            os.replace(shutil.copyfile(found, Path(folder, path.name)), path)

"""What every way of finding homologues has in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from hardfold.search.database import check_database, database_identity


class Found(NamedTuple):
    """The outcome of one search: an a3m file, there until the next outcome is asked for, or what went wrong."""

    sequence: str
    path: Path | None
    fault: str
    seconds: float


class Provider(ABC):
    """A search program and one database of its kind. `version`, `options` and `identity` decide what it finds."""

    name: ClassVar[str]  # as in the configuration
    version: str
    options: tuple

    def __init__(self, database: str):
        """Raises DatabaseError for an incomplete database."""
        self.database = database
        self.check()
        self.identity = database_identity(self.name, database)

    def check(self) -> None:
        """Raise DatabaseError unless the database is there: without it no search can go on."""
        check_database(self.name, self.database)

    @property
    def label(self) -> str:
        """The database's name and the start of its identity: the same on every machine."""
        return f"{Path(self.database).name}:{self.identity[:12]}"

    @abstractmethod
    def search(self, sequences: Sequence[str], work: Path, threads: int) -> Iterator[Found]:
        """Search each of the (different) sequences, on `threads` cores, files in the folder `work`; in any order.

        A search that fails stops no other. Raises DatabaseError and ToolError where none can succeed.
        """

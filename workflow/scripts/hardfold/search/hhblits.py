"""hhblits (HH-suite) against an HH-suite database: each sequence a process of its own, on one core."""

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hardfold.search.provider import Found, Provider
from hardfold.tools import ToolCrash, ToolError, run_tool

# The guide's choice for realignment, and a prefilter that hardly cuts hits off in a deep database.
_FIXED_OPTIONS = ("-mact", 0.35, "-maxfilt", 100000)


class HHblits(Provider):
    name = "hhblits"

    def __init__(self, database: str, *, iterations: int, evalue: float, min_coverage: float):
        """Raises DatabaseError, and ToolError where hhblits is missing or built for another CPU."""
        super().__init__(database)
        # A build for another CPU dies by SIGILL even here (tried: the AVX and AVX2 builds on an emulated Nehalem).
        self.version = run_tool("hhblits", "-h").split("\n", 1)[0].strip(": ")
        self.options = ("-n", iterations, "-e", evalue, "-cov", round(100 * min_coverage), *_FIXED_OPTIONS)

    def search(self, sequences: Sequence[str], work: Path, threads: int) -> Iterator[Found]:
        """As in Provider. A search that a signal ended is tried again, alone, once the others are done: then it has
        the job's whole memory.
        """
        crashed = []
        with ThreadPoolExecutor(threads) as executor:
            for found, crash in executor.map(lambda task: self._search(*task, work), enumerate(sequences)):
                if crash:
                    crashed.append(found.sequence)
                else:
                    yield found
        for number, sequence in enumerate(crashed):
            found, _ = self._search(number, sequence, work)
            yield found

    def _search(self, number, sequence, work) -> tuple[Found, bool]:
        """The outcome, and whether a signal ended it."""
        start = time.monotonic()
        query, alignment = work / f"{number}.fasta", work / f"{number}.a3m"
        query.write_text(f">query\n{sequence}\n")
        path, fault, crash = alignment, "", False
        try:
            run_tool("hhblits", "-cpu", 1, "-v", 1, "-i", query, "-d", self.database, "-oa3m", path, *self.options)
        except ToolError as error:
            self.check()
            if isinstance(error, ToolCrash) and error.signal == signal.SIGILL:
                raise  # no chain's fault
            path, fault, crash = None, str(error), isinstance(error, ToolCrash)
        return Found(sequence, path, fault, time.monotonic() - start), crash

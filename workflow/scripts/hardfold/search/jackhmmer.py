"""jackhmmer (pyhmmer) against a FASTA file: the sequences in memory, each search a thread."""

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyhmmer
from pyhmmer.easel import Alphabet, DigitalSequenceBlock, SequenceFile, TextSequence
from pyhmmer.plan7 import Pipeline

from hardfold.alignment import GAP, Alignment, write_a3m
from hardfold.search.database import DatabaseError
from hardfold.search.provider import Found, Provider

_AMINO = Alphabet.amino()


class Jackhmmer(Provider):
    name = "jackhmmer"

    def __init__(self, database: str, *, iterations: int, evalue: float, min_coverage: float):
        """Raises DatabaseError."""
        super().__init__(database)
        self.version = f"pyhmmer {pyhmmer.__version__}"
        self.options = (iterations, evalue, min_coverage)

    def search(self, sequences: Sequence[str], work: Path, threads: int) -> Iterator[Found]:
        """As in Provider. Raises DatabaseError for a file that is not FASTA."""
        targets = self._targets()
        with ThreadPoolExecutor(threads) as executor:
            yield from executor.map(lambda task: self._search(*task, targets, work), enumerate(sequences))

    def _targets(self) -> DigitalSequenceBlock:
        try:
            with SequenceFile(self.database, format="fasta", digital=True, alphabet=_AMINO) as file:
                return file.read_block()
        except (ValueError, EOFError) as fault:
            raise DatabaseError(f"{self.database}: not FASTA of proteins: {fault}") from None

    def _search(self, number, sequence, targets, work):
        start = time.monotonic()
        path, fault = work / f"{number}.a3m", ""
        try:
            write_a3m(path, _align(sequence, targets, *self.options))
        except (RuntimeError, ValueError, MemoryError) as error:  # pyhmmer's errors derive from these
            path, fault = None, f"jackhmmer: {error}"
        return Found(sequence, path, fault, time.monotonic() - start)


def _align(sequence, targets, iterations, evalue, min_coverage) -> Alignment:
    """The hits of the last iteration, or of the one that finds nothing new, in the query's columns."""
    pipeline = Pipeline(_AMINO, E=evalue, domE=evalue, incE=evalue, incdomE=evalue)
    query = TextSequence(name="query", sequence=sequence).digitize(_AMINO)
    *_, last = itertools.islice(pipeline.iterate_seq(query, targets), iterations)
    rows = last.msa.textize().alignment
    letters = np.frombuffer("".join(rows).encode(), np.uint8).reshape(len(rows), -1)
    letters = letters[:, letters[0] != GAP]  # row 0 is the query
    covered = (letters != GAP).mean(axis=1) >= min_coverage
    names = tuple(name for name, is_kept in zip(last.msa.names, covered, strict=True) if is_kept)
    return Alignment(names, letters[covered])

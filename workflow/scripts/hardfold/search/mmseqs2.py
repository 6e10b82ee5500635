"""MMseqs2 against a database of its own: profile search in iterations, many sequences in one run."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hardfold import mmseqs
from hardfold.search.provider import Found, Provider
from hardfold.tools import ToolError, run_tool


class MMseqs2(Provider):
    name = "mmseqs2"

    def __init__(self, database: str, *, iterations: int, evalue: float, min_coverage: float):
        """Raises DatabaseError, and ToolError where mmseqs is missing or built for another CPU."""
        super().__init__(database)
        self.version = run_tool("mmseqs", "version").strip()
        self.options = (
            *("--num-iterations", iterations, "-e", evalue, "--e-profile", evalue, "-c", min_coverage, "--cov-mode", 2),
            *("-s", 7.5, "--max-seqs", 10000),
        )
        if mmseqs.is_padded(database) and mmseqs.gpu_works():
            self.options += ("--gpu", 1)

    def search(self, sequences: Sequence[str], work: Path, threads: int) -> Iterator[Found]:
        """As in Provider, in one run; a run that fails is tried again in halves, down to the sequence at fault."""
        waiting, faults, is_any_found = [list(sequences)], 0, False
        while waiting:
            batch, start = waiting.pop(), time.monotonic()
            with tempfile.TemporaryDirectory(dir=work) as folder:
                queries = {str(number): sequence for number, sequence in enumerate(batch)}
                try:
                    found = dict(mmseqs.align(queries, self.database, Path(folder), *self.options, threads=threads))
                except ToolError as fault:
                    self.check()
                    if len(batch) > 1:
                        half = len(batch) // 2
                        waiting += [batch[half:], batch[:half]]
                        continue
                    faults += 1
                    if faults > 1 and not is_any_found:
                        raise  # it is not the sequences' fault
                    yield Found(batch[0], None, str(fault), time.monotonic() - start)
                else:
                    is_any_found = True
                    seconds = (time.monotonic() - start) / len(batch)
                    for number, sequence in queries.items():
                        yield Found(sequence, found[number], "", seconds)

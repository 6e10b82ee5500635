"""Alignments: each provider on the same real chains and pool; Neff and the choice of rows against plain ways.

Processor time of this process and the programs it starts, on one core; searches once, the rest the best of three.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest
from measure import ROOT, cpu_seconds, print_table, run_python

from hardfold.alignment import choose_rows, neff, read_a3m, read_alignment
from hardfold.jobs import DATABASE_FILES
from hardfold.search.build import build_database
from hardfold.search.shard import PROVIDERS

pytestmark = pytest.mark.benchmark
CHAINS, POOL = 30, ROOT / "resources/demo/pool.fasta.gz"
BUILT = ROOT / "results/alignments/database/pool"  # of an earlier run: four minutes for HH-suite's
OPTIONS = {"iterations": 2, "evalue": 1e-3, "min_coverage": 0.5}
DEEP = ROOT.parent / "shared/data/msa/deepdist_casp14/DeepMSA_ALN/T1093.aln"
LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY-", np.uint8)


def test_providers(tmp_path):
    sequences = read_sequences(CHAINS)
    rows, found = [], {}
    for name, provider in PROVIDERS.items():
        prefix, build = database(name, tmp_path)
        start, clock = processor_time(), time.monotonic()
        work = tmp_path / f"work_{name}"
        work.mkdir()
        search = provider(str(prefix), **OPTIONS)
        alignments = {
            outcome.sequence: read_a3m(outcome.path, outcome.sequence).rows
            for outcome in search.search(sequences, work, 1)
        }
        spent, clock = processor_time() - start, time.monotonic() - clock
        found[name] = np.array([neff(alignments[sequence]) for sequence in sequences])
        depth = np.array([len(alignments[sequence]) for sequence in sequences])
        figures = [f"{figure / len(sequences):.2f}" for figure in (spent, clock)]
        depths = [f"{np.median(values):.1f}, {np.mean(values):.1f}" for values in (depth, found[name])]
        rows.append([name, search.version, build, *figures, *depths])
    header = ["provider", "version", "database, s CPU", "CPU s a chain", "wall s a chain", "rows: median, mean"]
    print_table(f"{len(sequences)} embedded chains, embedded pool, {OPTIONS}", [*header, "Neff: median, mean"], rows)
    print_table(
        "Neff, Pearson correlation over the chains",
        ["", *found],
        [[name, *(f"{np.corrcoef(found[name], found[other])[0, 1]:.2f}" for other in found)] for name in found],
    )


def test_depth_and_choice_of_rows():
    random = np.random.default_rng(1)
    cases = {f"random, {count}": random.choice(LETTERS, (count, 1000)) for count in (5_000, 20_000)}
    if DEEP.exists():
        cases = {"real, T1093": read_alignment(DEEP).rows, **cases}
    rows = []
    for name, alignment in cases.items():
        shape = " x ".join(map(str, alignment.shape))
        rows.append([name, shape, "Neff", *compare(alignment, neff, neff_one_hot)])
        rows.append([name, shape, "1,024 diverse rows", *compare(alignment, choose, choose_by_letters)])
    title = "CPU s, 64 columns a word; and how many times as long one-hot products (Neff) or letters (rows) take"
    print_table(title, ["alignment", "rows x columns", "", "CPU s", "plain / ours"], rows)
    setup = "import numpy as np, hardfold.alignment as a; "
    setup += "r = np.random.default_rng(1).integers(65, 90, (20000, 1000), np.uint8)"
    calls = {"the alignment alone": "", "Neff": "; a.neff(r)", "1,024 diverse rows": "; a.choose_rows(r, 1024)"}
    peaks = [[name, f"{run_python(setup + call)['peak_mb']:.0f}"] for name, call in calls.items()]
    print_table("peak memory of a process, 20,000 x 1,000 (20 MB)", ["", "MB"], peaks)


def compare(alignment: np.ndarray, ours: Callable, plain: Callable) -> tuple[str, str]:
    """Seconds of ours, and the ratio to the plain way, which the deepest alignment is spared."""
    is_deep = len(alignment) > 10_000
    seconds = cpu_seconds(lambda: ours(alignment), 1 if is_deep else 3)
    ratio = "" if is_deep else f"{cpu_seconds(lambda: plain(alignment), 2) / seconds:.1f}"
    return f"{seconds:.2f}", ratio


def choose(rows: np.ndarray) -> np.ndarray:
    return choose_rows(rows, 1024)


def choose_by_letters(rows: np.ndarray) -> list[int]:
    """As `choose`, a byte a letter."""
    chosen, distance, is_open = [0], np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
    for _ in range(1023):
        is_open[chosen[-1]] = False
        distance += np.count_nonzero(rows != rows[chosen[-1]], axis=1)
        chosen.append(int(np.where(is_open, distance, -1).argmax()))
    return chosen


def processor_time() -> float:
    return sum(os.times()[:4])


def database(provider: str, folder: Path) -> tuple[Path, str]:
    """The provider's database of the embedded pool, and the seconds it took, if it was built here."""
    if provider == "hhblits" and all(Path(f"{BUILT}{ending}").exists() for ending in DATABASE_FILES[provider]):
        return BUILT, ""
    start = processor_time()
    build_database(provider, POOL, folder / f"{provider}/pool", 1)
    return folder / f"{provider}/pool", f"{processor_time() - start:.1f}"


def read_sequences(count: int) -> list[str]:
    """The full sequences of the first protein entities of the embedded structures."""
    sequences = []
    for path in sorted((ROOT / "resources/demo/structures").glob("*.cif*"))[:count]:
        entity = next(entity for entity in gemmi.read_structure(str(path)).entities if entity.full_sequence)
        sequences.append(gemmi.one_letter_code(entity.full_sequence).upper())
    return sorted(set(sequences))


def neff_one_hot(rows: np.ndarray, block: int = 512) -> float:
    """As `neff`, by products of (B, 20 L) one-hot float32 matrices."""
    letters = np.setdiff1d(rows, np.frombuffer(b"-X", np.uint8))
    neighbours = np.ones(len(rows))
    for start in range(0, len(rows), block):
        first = (rows[start : start + block, None] == letters[None, :, None]).astype(np.float32)
        for other in range(start, len(rows), block):
            second = (rows[other : other + block, None] == letters[None, :, None]).astype(np.float32)
            equal = first.reshape(len(first), -1) @ second.reshape(len(second), -1).T
            shared = first.sum(1) @ second.sum(1).T
            alike = (shared > 0) & (equal >= 0.8 * shared)
            if other == start:
                np.fill_diagonal(alike, False)
            else:
                neighbours[other : other + block] += alike.sum(0)
            neighbours[start : start + block] += alike.sum(1)
    return float((1 / neighbours).sum())

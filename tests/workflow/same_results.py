"""Whether two runs of the same inputs have the same results: equal, bit for bit, but for what is declared here."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

# Timing and provenance: columns of tables and keys of JSON files that may differ between two runs on a CPU.
TIMING = {"seconds", "cached", "peak_memory_mb", "residues_per_second"}
PROVENANCE = {"written", "host", "commit", "modified"}
DECLARED = TIMING | PROVENANCE
# Folders of results/ that hold no results: what jobs said and took, and what a training goes on from.
BESIDE = {"logs", "benchmarks", "checkpoints"}


def differences(results: Path, expected: Path, of_all: bool = True) -> list[str]:
    """The files of two `results/` that differ; with `of_all` also those that only one of them has."""
    here, there = ({path.relative_to(root): path for path in _files(root)} for root in (results, expected))
    alone = [f"{path}: only in {results if path in here else expected}" for path in here.keys() ^ there.keys()]
    differing = [
        f"{path}: differs" for path in here.keys() & there.keys() if _content(here[path]) != _content(there[path])
    ]
    return sorted(differing + alone * of_all)


def _files(root: Path) -> Iterator[Path]:
    """Hidden files and folders are unfinished ones, under names that no reader asks for."""
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and parts[0] not in BESIDE and not any(part.startswith(".") for part in parts):
            yield path


def _content(path: Path):
    if path.suffix in (".tsv", ".csv"):
        with open(path, newline="") as handle:
            rows = csv.DictReader(handle, delimiter="\t" if path.suffix == ".tsv" else ",")
            return [{name: value for name, value in row.items() if name not in DECLARED} for row in rows]
    if path.suffix == ".json":
        return _undeclared(json.loads(path.read_bytes()))
    return path.read_bytes()


def _undeclared(value):
    if isinstance(value, dict):
        return {key: _undeclared(part) for key, part in value.items() if key not in DECLARED}
    return [_undeclared(part) for part in value] if isinstance(value, list) else value

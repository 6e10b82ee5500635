"""Whether two runs of the same inputs have the same results: equal, bit for bit, but for what is declared here."""

import csv
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

# Timing and provenance: columns of tables and keys of JSON files that may differ between two runs on a CPU.
TIMING = {"seconds", "cached", "peak_memory_mb", "residues_per_second", "tokens_per_second"}
PROVENANCE = {"written", "host", "commit", "modified"}
DECLARED = TIMING | PROVENANCE
# The report's pages print these among other values: their numbers, with units of time, are not compared.
NUMBER = re.compile(r"\d[\d.:,T+-]*(?: (?:s|min|h)\b)?(?: \d+ (?:s|min)\b)?")
# Folders of results/ that hold no results: what jobs said and took, and what a training goes on from.
BESIDE = {"logs", "benchmarks", "checkpoints"}


def differences(results: Path, expected: Path) -> list[str]:
    """The files of two `results/` that differ or that only one of them has."""
    here, there = (set(map(str, _files(root))) for root in (results, expected))
    alone = [f"{path} is in {results if path in here else expected} only" for path in sorted(here ^ there)]
    return differing(results, expected) + alone


def differing(results: Path, expected: Path, unfinished: Collection[str] = ()) -> list[str]:
    """The files of both that differ, but for the files and folders that are `unfinished`."""
    shared = set(_files(results)) & set(_files(expected))
    return sorted(
        str(path)
        for path in shared
        if not {str(path), *map(str, path.parents)} & set(unfinished)
        and _content(results / path) != _content(expected / path)
    )


def _files(root: Path) -> Iterator[Path]:
    """Hidden files and folders are unfinished ones, under names that no reader asks for."""
    for path in root.rglob("*"):
        path = path.relative_to(root)
        if (root / path).is_file() and path.parts[0] not in BESIDE and not any(p.startswith(".") for p in path.parts):
            yield path


def _content(path: Path):
    if path.suffix in (".tsv", ".csv"):
        with open(path, newline="") as handle:
            rows = csv.DictReader(handle, delimiter="\t" if path.suffix == ".tsv" else ",")
            return [{name: value for name, value in row.items() if name not in DECLARED} for row in rows]
    if path.suffix == ".json":
        return _undeclared(json.loads(path.read_bytes()))
    if path.suffix in (".md", ".html"):
        return NUMBER.sub("#", path.read_text())
    return path.read_bytes()


def _undeclared(value):
    if isinstance(value, dict):
        return {key: _undeclared(part) for key, part in value.items() if key not in DECLARED}
    return [_undeclared(part) for part in value] if isinstance(value, list) else value

"""What a model of config/pretraining.yaml learns from. Imports no torch: the workflow lays out its jobs by it."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def excluded_files(sets: Mapping[str, Iterable[str]]) -> list[str]:
    """The files of `pretraining.exclude`, those in its folders too: a new one makes what was selected out of date."""
    sources = [Path(source) for members in sets.values() for source in members]
    files = [file for source in sources for file in (source.iterdir() if source.is_dir() else [source])]
    return sorted({str(file) for file in files if file.is_file()})


def pretraining_inputs(settings: Mapping) -> dict[str, str]:
    """Of a model of the preset: the data, for a folding model its trained stem, and alignments for one that reads
    them.
    """
    inputs = {"data": "results/pretraining/data"}
    if settings["kind"] == "alignment" or settings.get("read_alignments"):
        inputs["alignments"] = "results/pretraining/alignments"
    if settings["kind"] == "folding":
        inputs["stem"] = f"results/pretraining/runs/{settings['stem']}"
    return inputs


def recipe_module(kind: str) -> str:
    """The module that trains a model of this kind; `pretraining.train` only chooses between them, and imports both."""
    return "pretraining.folding" if kind == "folding" else "pretraining.language"

"""What a model of config/pretraining.yaml learns from. Imports no torch: the workflow lays out its jobs by it."""

from collections.abc import Mapping


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

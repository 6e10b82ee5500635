"""One entry to the three recipes: `kind` of the settings says which."""

from collections.abc import Mapping
from pathlib import Path

from hardfold.pretraining.folding import train_folding_model
from hardfold.pretraining.language import train_alignment_model, train_sequence_model


def train_model(name: str, inputs: Mapping[str, str], folder: str, settings: dict, seed: int, threads: int) -> None:
    """Train model `name` on `inputs` (data, and alignments or the stem's folder) into `folder`."""
    data, common = Path(inputs["data"]), (Path(folder), name, settings, seed, threads)
    match settings["kind"]:
        case "sequence":
            train_sequence_model(data, *common)
        case "alignment":
            train_alignment_model(data, Path(inputs["alignments"]), *common)
        case "folding":
            train_folding_model(data, Path(inputs["stem"], f"{settings['stem']}.pt"), *common)
        case kind:
            raise ValueError(f"pretraining.models.{name}.kind: {kind!r} is not sequence, alignment or folding")

"""One entry to the three recipes: `kind` of the settings says which."""

from collections.abc import Mapping
from pathlib import Path

from hardfold.distributed import launch
from hardfold.pretraining.folding import train_folding_model
from hardfold.pretraining.language import train_alignment_model, train_sequence_model


def train_model(
    name: str, inputs: Mapping[str, str], folder: str, state: str, settings: dict, seed: int, threads: int
) -> None:
    """Train model `name` on `inputs` (data, and alignments or the stem's folder) into `folder`, on settings["devices"]
    devices; `state` keeps what a run that was cut short goes on from."""
    data = {"data": Path(inputs["data"])}
    common = {"folder": Path(folder), "state": Path(state), "name": name}
    common |= {"settings": settings, "seed": seed, "threads": threads}
    match settings["kind"]:
        case "sequence":
            launch(settings["devices"], train_sequence_model, **data, **common)
        case "alignment":
            alignments = Path(inputs["alignments"])
            launch(settings["devices"], train_alignment_model, **data, alignments=alignments, **common)
        case "folding":
            alignments = Path(inputs["alignments"]) if "alignments" in inputs else None
            stem = Path(inputs["stem"], f"{settings['stem']}.pt")
            launch(settings["devices"], train_folding_model, **data, stem=stem, alignments=alignments, **common)
        case kind:
            raise ValueError(f"pretraining: {name}: kind {kind!r} is not sequence, alignment or folding")

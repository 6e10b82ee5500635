"""Pretrained weights: their names and files, and the record of what was fetched."""

import json
import re
from pathlib import Path

from hardfold.tables import sha256

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
CHECKSUMS = "SHA256SUMS"
RECORD = "weights.json"


class WeightsError(RuntimeError):
    """Weights that are missing or not what they should be; the message names the folder and the file."""


def in_archive(model: str) -> bool:
    """Whether the archive may hold the model: it has ESM-2 and ESM-MSA-1b, and no folding models."""
    return model.startswith(("esm2_", "esm_msa"))


def required_files(model: str) -> list[str]:
    """ESM-2, ESM-MSA-1b: the checkpoint and its contact regression, as fair-esm names them. Else transformers' two."""
    if not MODEL_NAME.match(model):
        raise WeightsError(f"{model!r} is not a model's name: letters, digits, '_', '.' and '-'")
    if in_archive(model):
        return [f"{model}.pt", f"{model}-contact-regression.pt"]
    return ["config.json", "model.safetensors"]


def local_files(model: str, folder: Path) -> list[Path]:
    """The model's files in `folder`: all of <folder>/<model>/ (card and checksums included), else <folder>/<model>.pt
    and its regression; [] where a required file is absent.
    """
    required, own = required_files(model), Path(folder, model)
    if all((own / name).is_file() for name in required):
        optional = [name for name in ("README.md", CHECKSUMS) if (own / name).is_file()]
        return [own / name for name in required + optional]
    flat = [Path(folder, name) for name in required]
    return flat if in_archive(model) and all(path.is_file() for path in flat) else []


def verify(folder: Path) -> dict:
    """weights.json of a fetched model, once its files have been found to be the recorded ones. Raises WeightsError."""
    record = json.loads(Path(folder, RECORD).read_text())
    for name, expected in record["files"].items():
        if sha256(Path(folder, name)) != expected:
            raise WeightsError(f"{folder}/{name}: not the file that was fetched (sha256 differs from {RECORD})")
    return record

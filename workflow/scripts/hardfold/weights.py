"""Pretrained weights: their names and files, and the record of what was fetched."""

import json
import math
import re
from pathlib import Path

from hardfold.tables import sha256

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
# A folding model's, as transformers names and prefers them: whole, or an index of shards.
FOLDING_WEIGHTS = tuple(
    f"{name}{index}" for name in ("model.safetensors", "pytorch_model.bin") for index in ("", ".index.json")
)
ALIGNMENT_WEIGHTS = "alignment.safetensors"  # the alignment adapter of a folding model that was trained with one
RECORD = "weights.json"


class WeightsError(RuntimeError):
    """Weights that are missing or not what they should be; the message names the folder and the file."""


def loading_mb(model: str, folder: Path, cache: Path) -> int:
    """Main memory that loading a model takes beside all else, MB: what is read, and the model in fp32.

    At most three times the files (fp16); of a model that was not fetched yet by its name, else three times 8.4 GB.
    """
    if files := local_files(model, folder) or cached_files(model, cache):
        return math.ceil(3 * sum(path.stat().st_size for path in files) / 1e6)
    if size := re.search(r"_(\d+)([MB])(_|\Z)", model):
        return 2 * 4 * int(size[1]) * {"M": 1, "B": 1000}[size[2]]
    return 25_400


def in_archive(model: str) -> bool:
    """Whether fair-esm's archive may hold the model: it has ESM-2 and ESM-MSA-1b; all others are folding models."""
    return model.startswith(("esm2_", "esm_msa"))


def required_files(model: str) -> list[str]:
    """ESM-2, ESM-MSA-1b: the checkpoint and its contact regression, as fair-esm names them. Else transformers' two, the
    second of which may be any of FOLDING_WEIGHTS.
    """
    if not MODEL_NAME.match(model):
        raise WeightsError(f"{model!r} is not a model's name: letters, digits, '_', '.' and '-'")
    if in_archive(model):
        return [f"{model}.pt", f"{model}-contact-regression.pt"]
    return ["config.json", FOLDING_WEIGHTS[0]]


def local_files(model: str, folder: Path) -> list[Path]:
    """The model's files in `folder`: those of <folder>/<model>/, the alignment adapter that it may have included, else
    <folder>/<model>.pt and its regression; [] where one is absent. What loading does not need, such as a model card, is
    none of them: editing it trains nothing again.
    """
    required, own = required_files(model), Path(folder, model)
    if not in_archive(model):
        required = folding_files(own) or required
    if all((own / name).is_file() for name in required):
        own_adapter = [ALIGNMENT_WEIGHTS] if (own / ALIGNMENT_WEIGHTS).is_file() else []
        return [own / name for name in required + own_adapter]
    flat = [Path(folder, name) for name in required]
    return flat if in_archive(model) and all(path.is_file() for path in flat) else []


def folding_files(folder: Path) -> list[str]:
    """config.json and the first of FOLDING_WEIGHTS in `folder`, with the shards it names; [] where there is none."""
    for name in FOLDING_WEIGHTS:
        if Path(folder, name).is_file():
            return ["config.json", name, *shards(Path(folder, name))]
    return []


def shards(path: Path) -> list[str]:
    """The files that an index names, none of other weights. Raises WeightsError for an index of another form."""
    if not path.name.endswith(".index.json"):
        return []
    try:
        names = sorted({str(name) for name in json.loads(path.read_text())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as fault:
        raise WeightsError(f"{path}: not an index of shards ({fault!r})") from None
    suffix = Path(path.name.removesuffix(".index.json")).suffix
    if foreign := [name for name in names if not (MODEL_NAME.match(name) and name.endswith(suffix))]:
        raise WeightsError(f"{path}: {foreign[0]!r} is no {suffix} file beside it")
    return names


def cached_files(model: str, cache: Path) -> list[Path]:
    """What a download that was completed left in <cache>/<model>/; [] where a file is absent."""
    record = Path(cache, model, RECORD)
    names = json.loads(record.read_text())["files"] if record.is_file() else []
    files = [record.with_name(name) for name in names]
    return files if all(path.is_file() for path in files) else []


def verify(folder: Path) -> dict:
    """weights.json of a fetched model, once its files have been found to be the recorded ones. Raises WeightsError."""
    record = json.loads(Path(folder, RECORD).read_text())
    for name, expected in record["files"].items():
        if sha256(Path(folder, name)) != expected:
            raise WeightsError(f"{folder}/{name}: not the file that was fetched (sha256 differs from {RECORD})")
    return record

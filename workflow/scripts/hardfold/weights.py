"""Pretrained weights: fetched once from a folder or the archive into the run, with the sha256 of every file."""

import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from hardfold.tables import sha256, whole_file, write_json

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
CHECKSUMS = "SHA256SUMS"
RECORD = "weights.json"
_ATTEMPTS = 3


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


def fetch(model: str, folder: Path, archive: str, offline: bool, output: Path) -> None:
    """Copy the model from `folder`, else download it from `archive` (fair-esm's layout), and write weights.json.

    weights.json: {name, source, files: {file: sha256}}. A SHA256SUMS beside the files is verified. Raises WeightsError.
    """
    output = Path(output)
    if files := local_files(model, folder):
        source = str(files[0].parent)
        for path in files:
            with whole_file(output / path.name) as temporary:
                shutil.copyfile(path, temporary)
    else:
        source = _download(model, folder, archive, offline, output)
    hashes = {path.name: sha256(path) for path in sorted(output.iterdir()) if path.name != RECORD}
    if CHECKSUMS in hashes:
        _compare(output / CHECKSUMS, hashes, required_files(model), source)
    write_json(output / RECORD, {"name": model, "source": source, "files": hashes})


def verify(folder: Path) -> dict:
    """weights.json of a fetched model, once its files have been found to be the recorded ones. Raises WeightsError."""
    record = json.loads(Path(folder, RECORD).read_text())
    for name, expected in record["files"].items():
        if sha256(Path(folder, name)) != expected:
            raise WeightsError(f"{folder}/{name}: not the file that was fetched (sha256 differs from {RECORD})")
    return record


def _compare(listing, hashes, required, source):
    listed = dict(reversed(line.split(maxsplit=1)) for line in listing.read_text().splitlines() if line.strip())
    listed = {name.lstrip("*"): digest for name, digest in listed.items()}
    for name in sorted({*required, *(listed.keys() & hashes.keys())}):
        if listed.get(name) != hashes[name]:
            reason = "its sha256 differs from" if name in listed else "not listed in"
            raise WeightsError(f"{source}/{name}: {reason} {CHECKSUMS}")


def _download(model, folder, archive, offline, output):
    checkpoint, other = required_files(model)
    wanted = f"{folder}/{model}/ needs {checkpoint} and {other}"
    if not in_archive(model):
        raise WeightsError(f"{model}: no weights; {wanted} (there is no archive of folding models)")
    if offline:
        raise WeightsError(f"{model}: no weights; {wanted} (inputs.offline forbids the archive)")
    for part, name in (("models", checkpoint), ("regression", other)):
        url = f"{archive.rstrip('/')}/{part}/{name}"
        with whole_file(output / name) as temporary:
            _retrieve(url, temporary, wanted)
    return f"{archive.rstrip('/')}/models/{checkpoint}"


def _retrieve(url, path, wanted):
    for _ in range(_ATTEMPTS):
        try:
            with urllib.request.urlopen(url, timeout=60) as response, open(path, "wb") as handle:
                shutil.copyfileobj(response, handle, 2**20)
                expected = response.headers.get("Content-Length")
            if expected is None or path.stat().st_size == int(expected):
                return
            fault = f"{path.stat().st_size} of {expected} bytes came"
        except OSError as error:  # URLError, HTTPError and timeouts are OSErrors
            fault = str(error)
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                break
    raise WeightsError(f"{url}: {fault}; without a network, {wanted}")

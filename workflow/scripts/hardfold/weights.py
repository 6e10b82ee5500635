"""Pretrained weights: fetched once from a folder or the archive into the run, with the sha256 of every file."""

import json
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from hardfold.tables import sha256, whole_file, write_json

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
# A folding model's, as transformers names and prefers them: whole, or an index of shards.
FOLDING_WEIGHTS = tuple(
    f"{name}{index}" for name in ("model.safetensors", "pytorch_model.bin") for index in ("", ".index.json")
)
CHECKSUMS = "SHA256SUMS"
RECORD = "weights.json"
_ATTEMPTS = 3


class WeightsError(RuntimeError):
    """Weights that are missing or not what they should be; the message names the folder and the file."""


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
    """The model's files in `folder`: all of <folder>/<model>/ (card and checksums included), else <folder>/<model>.pt
    and its regression; [] where a required file is absent.
    """
    required, own = required_files(model), Path(folder, model)
    if not in_archive(model):
        required = folding_files(own) or required
    if all((own / name).is_file() for name in required):
        optional = [name for name in ("README.md", CHECKSUMS) if (own / name).is_file()]
        return [own / name for name in required + optional]
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
    if foreign := [name for name in names if not MODEL_NAME.match(name)]:
        raise WeightsError(f"{path}: {foreign[0]!r} is no file beside it")
    return names


def fetch(model: str, folder: Path, archive: str, offline: bool, output: Path) -> None:
    """Copy the model from `folder`, else download it from `archive`, and write weights.json.

    archive: in fair-esm's layout, or of a folding model an address with {model} in it that has the files below, as the
    Hugging Face hub does; the sha256 that it names is verified.

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
        _compare(output / CHECKSUMS, hashes, hashes.keys() - {CHECKSUMS, "README.md"}, source)
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
    if offline:
        raise WeightsError(f"{model}: no weights; {wanted} (inputs.offline forbids the archive)")
    if not in_archive(model):
        return _download_folding_model(archive.replace("{model}", model), output, wanted)
    for part, name in (("models", checkpoint), ("regression", other)):
        url = f"{archive.rstrip('/')}/{part}/{name}"
        with whole_file(output / name) as temporary:
            _retrieve(url, temporary, wanted)
    return f"{archive.rstrip('/')}/models/{checkpoint}"


def _download_folding_model(address, output, wanted):
    """The first of FOLDING_WEIGHTS that the archive has, its shards, and config.json."""
    for name in FOLDING_WEIGHTS:
        found, digest = _linked_sha256(f"{address}/{name}", wanted)
        if found:
            _retrieve_checked(f"{address}/{name}", output / name, digest, wanted)
            for other in ("config.json", *shards(output / name)):
                digest = _linked_sha256(f"{address}/{other}", wanted)[1]
                _retrieve_checked(f"{address}/{other}", output / other, digest, wanted)
            return address
    raise WeightsError(f"{address}: has none of {', '.join(FOLDING_WEIGHTS)}; {wanted}")


def _retrieve_checked(url, path, digest, wanted):
    with whole_file(path) as temporary:
        _retrieve(url, temporary, wanted)
        if digest and sha256(temporary) != digest:
            raise WeightsError(f"{url}: what came is not what the archive names (sha256 differs)")


class _Stay(urllib.request.HTTPRedirectHandler):
    """The hub names a large file's sha256 where it sends on to the file's place: do not follow."""

    def redirect_request(self, *arguments):
        return None


def _linked_sha256(url, wanted):
    """(whether the archive has the file, the sha256 that it names or None)."""
    request = urllib.request.Request(url, method="HEAD")
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=60) as response:
            headers = response.headers
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False, None
        if error.code not in (301, 302, 303, 307, 308):
            raise WeightsError(f"{url}: {error}; without a network, {wanted}") from None
        headers = error.headers
    except OSError as error:
        raise WeightsError(f"{url}: {error}; without a network, {wanted}") from None
    tag = (headers.get("X-Linked-Etag") or "").strip('"')
    return True, tag if re.fullmatch(r"[0-9a-f]{64}", tag) else None


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

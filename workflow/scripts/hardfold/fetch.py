"""Pretrained weights: fetched once from a folder, the cache or an archive, with the sha256 of every file.

Apart from hardfold.weights, on which all training rests: a change here trains nothing again.
"""

import json
import re
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path

import requests

from hardfold import download
from hardfold.tables import sha256, whole_file, write_json
from hardfold.weights import (
    FOLDING_WEIGHTS,
    RECORD,
    WeightsError,
    cached_files,
    in_archive,
    local_files,
    required_files,
    shards,
    verify,
)

CHECKSUMS = "SHA256SUMS"
# How files begin; torch's, where they are no whole zip archive, as a pickle of older releases.
_BEGINNINGS = {".pt": rb"\x80", ".bin": rb"\x80", ".safetensors": rb"(?s:.{8})\{", ".json": rb"\s*\{"}


def fetch(model: str, *, folder: Path, cache: Path, archive: str, offline: bool, output: Path) -> None:
    """Copy the model from `folder`, else from `cache`, into which it is downloaded from `archive` where it is not
    there, and write weights.json.

    archive: in fair-esm's layout, or of a folding model an address with {model} in it that has its files, as the
    Hugging Face hub does. weights.json: {name, source, files: {file: sha256}}. A SHA256SUMS beside the files is
    verified, and what the hub names; fair-esm publishes no checksums. Those of the first download are recorded in
    <cache>/<model>/weights.json, and whatever is read there or downloaded later must have them. Raises WeightsError.
    """
    output = Path(output)
    if files := local_files(model, folder):
        source = str(files[0].parent)
    else:
        if not cached_files(model, cache):
            wanted = f"{folder}/{model}/ needs {' and '.join(required_files(model))}"
            if offline:
                raise WeightsError(f"{model}: no weights; {wanted} (inputs.offline forbids the archive)")
            _download(model, Path(cache, model), archive, wanted)
        source, files = verify(Path(cache, model))["source"], cached_files(model, cache)
    for path in files:
        with whole_file(output / path.name) as temporary:
            shutil.copyfile(path, temporary)
    hashes = {name: sha256(output / name) for name in sorted(path.name for path in files)}
    if (listing := files[0].with_name(CHECKSUMS)).is_file():
        _compare(listing, hashes, source)
    write_json(output / RECORD, {"name": model, "source": source, "files": hashes})


def _compare(listing, hashes, source):
    listed = dict(reversed(line.split(maxsplit=1)) for line in listing.read_text().splitlines() if line.strip())
    listed = {name.lstrip("*"): digest for name, digest in listed.items()}
    for name, digest in hashes.items():
        if listed.get(name) != digest:
            reason = "its sha256 differs from" if name in listed else "not listed in"
            raise WeightsError(f"{source}/{name}: {reason} {CHECKSUMS}")


def _download(model, own, archive, wanted):
    """Complete the folder `own` of the cache, its record last."""
    record, archive = own / RECORD, archive.rstrip("/")
    known = json.loads(record.read_text())["files"] if record.is_file() else {}
    try:
        with requests.Session() as session:
            if in_archive(model):
                checkpoint, regression = required_files(model)
                source = f"{archive}/models/{checkpoint}"
                urls = {checkpoint: source, regression: f"{archive}/regression/{regression}"}
            else:
                source = archive.replace("{model}", model)
                urls = {name: f"{source}/{name}" for name in known or _folding_weights(session, source, own)}
            for name, url in urls.items():
                _retrieve(session, url, own / name, known.get(name))
    except download.MissingEntry as fault:
        raise WeightsError(f"{fault.source}: {fault}; without a network, {wanted}") from fault
    if not known:
        write_json(record, {"name": model, "source": source, "files": {name: sha256(own / name) for name in urls}})


def _folding_weights(session, address, own):
    """A folding model's files, once the first of FOLDING_WEIGHTS that the archive has is in `own`."""
    for name in FOLDING_WEIGHTS:
        with suppress(download.NotThere):
            _retrieve(session, f"{address}/{name}", own / name)
            return ["config.json", name, *shards(own / name)]
    raise download.MissingEntry(f"has none of {', '.join(FOLDING_WEIGHTS)}", address)


def _retrieve(session, url, target, expected=None):
    """Download a file that is not there, and, where its sha256 is known, that very file."""
    if target.is_file():
        return
    with whole_file(target) as temporary:
        download.fetch(session, url, temporary)
        if not _is_of_its_kind(temporary, target.suffix):
            raise WeightsError(f"{url}: what came is no {target.suffix} file")
        if expected and sha256(temporary) != expected:
            raise WeightsError(
                f"{url}: not the file of the first download (sha256 differs from {target.parent}/{RECORD})"
            )


def _is_of_its_kind(path, suffix):
    if suffix in (".pt", ".bin") and zipfile.is_zipfile(path):
        return True
    with open(path, "rb") as handle:
        return bool(re.match(_BEGINNINGS[suffix], handle.read(100)))

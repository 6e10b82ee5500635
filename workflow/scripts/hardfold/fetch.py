"""Pretrained weights: fetched once from a folder, the cache or the archive, with the sha256 of every file.

Apart from hardfold.weights, on which all training rests: a change here trains nothing again.
"""

import json
import shutil
from pathlib import Path

import requests

from hardfold import download
from hardfold.tables import sha256, whole_file, write_json
from hardfold.weights import CHECKSUMS, RECORD, WeightsError, in_archive, local_files, required_files, verify

_TORCH_FILES = (b"PK", b"\x80")  # a zip archive, or a pickle of older releases


def fetch(model: str, *, folder: Path, cache: Path, archive: str, offline: bool, output: Path) -> None:
    """Copy the model from `folder`, else from `cache`, into which it is downloaded from `archive` (fair-esm's layout)
    where it is not there, and write weights.json.

    weights.json: {name, source, files: {file: sha256}}. A SHA256SUMS beside the files is verified. The archive
    publishes no checksums: those of the first download are recorded in <cache>/<model>/weights.json, and whatever is
    read there or downloaded later must have them. Raises WeightsError.
    """
    output = Path(output)
    if files := local_files(model, folder):
        source = str(files[0].parent)
    else:
        own = Path(cache, model)
        source = _download(model, folder, own, archive, offline)["source"]
        files = [own / name for name in required_files(model)]
    for path in files:
        with whole_file(output / path.name) as temporary:
            shutil.copyfile(path, temporary)
    hashes = {path.name: sha256(path) for path in sorted(output.iterdir()) if path.name != RECORD}
    if CHECKSUMS in hashes:
        _compare(output / CHECKSUMS, hashes, required_files(model), source)
    write_json(output / RECORD, {"name": model, "source": source, "files": hashes})


def _compare(listing, hashes, required, source):
    listed = dict(reversed(line.split(maxsplit=1)) for line in listing.read_text().splitlines() if line.strip())
    listed = {name.lstrip("*"): digest for name, digest in listed.items()}
    for name in sorted({*required, *(listed.keys() & hashes.keys())}):
        if listed.get(name) != hashes[name]:
            reason = "its sha256 differs from" if name in listed else "not listed in"
            raise WeightsError(f"{source}/{name}: {reason} {CHECKSUMS}")


def _download(model, folder, own, archive, offline) -> dict:
    """The verified record of the folder `own` of the cache, once all files are there."""
    names = required_files(model)
    wanted = f"{folder}/{model}/ needs {' and '.join(names)}"
    if not in_archive(model):
        raise WeightsError(f"{model}: no weights; {wanted} (there is no archive of folding models)")
    missing = [name for name in names if not (own / name).is_file()]
    if missing and offline:
        raise WeightsError(f"{model}: no weights; {wanted} (inputs.offline forbids the archive)")
    known = json.loads((own / RECORD).read_text())["files"] if (own / RECORD).is_file() else {}
    for part, name in zip(("models", "regression"), names, strict=True):
        if name in missing:
            _retrieve(f"{archive.rstrip('/')}/{part}/{name}", own / name, known.get(name), wanted)
    if not known:
        source = f"{archive.rstrip('/')}/models/{names[0]}"
        write_json(own / RECORD, {"name": model, "source": source, "files": {n: sha256(own / n) for n in names}})
    return verify(own)


def _retrieve(url, target, expected, wanted):
    """Download a file that torch has written, and, where its sha256 is known, that very file."""
    with whole_file(target) as temporary:
        try:
            with requests.Session() as session:
                download.fetch(session, url, temporary)
        except download.MissingEntry as fault:
            raise WeightsError(f"{url}: {fault}; without a network, {wanted}") from fault
        with open(temporary, "rb") as handle:
            if not handle.read(2).startswith(_TORCH_FILES):
                raise WeightsError(f"{url}: what came is no file of torch")
        if expected and sha256(temporary) != expected:
            raise WeightsError(
                f"{url}: not the file of the first download (sha256 differs from {target.parent}/{RECORD})"
            )

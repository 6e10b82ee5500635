"""Structure files: out of the folder that lists them, else a mirror folder, else the archive over HTTPS.

A file appears whole and checked or not at all; what cannot be had becomes a row with its reason.
"""

import gzip
import logging
import os
import re
import shutil
import zlib
from pathlib import Path

import requests
import tenacity
import urllib3

from hardfold import fields, jobs, tables

COLUMNS = ["id", "entry", "file", "numbering", "source", "sha256", "sequence", "sequence_sha256", "reason"]
SUFFIXES = (".cif.gz", ".cif", ".mmcif.gz", ".mmcif", ".pdb.gz", ".pdb", ".ent.gz", ".ent")  # the first found counts
ATTEMPTS = 5
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the body
LONGEST_WAIT = 600.0  # seconds that a server may ask to wait before the next attempt; above it is not asked again
GIVE_UP = 3  # entries in a row that the network failed for: the archive is not asked for the rest of the shard
BUSY = {429, 500, 502, 503, 504}


class DownloadError(RuntimeError):
    """A shard of which nothing could be downloaded, with the cause in one line."""


class MissingEntry(LookupError):
    """An entry that cannot be had: its reason, and where it was looked for."""

    def __init__(self, reason: str, source: str = ""):
        super().__init__(reason)
        self.source = source


class NotThere(MissingEntry):
    """The server does not have the file."""


class NetworkFault(MissingEntry):
    """The network or the server failed; another attempt may succeed, after `wait` seconds if the server said so."""

    def __init__(self, reason: str, source: str, wait: float | None = None):
        super().__init__(reason, source)
        self.wait = wait


def download_shard(
    *, records: list[dict], mirror: list[str], archive: str, cache: Path, offline: bool, folder: Path, table: Path
) -> None:
    """Put the file of each record (`inputs.records`) into `folder` and write a row for each.

    file: its name in the folder, an entry's once for all its records. numbering: `position` for a target found under
    its own name (a native as scored; sequence: its `<target>.fasta`, if a mirror has one), else `author`. What cannot
    be had is a row with the reason. What the archive sends is kept in the folder `cache`. Raises DownloadError if the
    network failed for an entry, however often it was tried (an outage must not become a smaller data set), or if a
    mirror folder does not exist.
    """
    for path in mirror:
        if not Path(path).is_dir():
            raise DownloadError(f"inputs.mirror: {path} is no folder")
    for id in (record[key] for record in records for key in ("id", "entry")):
        if id and not re.fullmatch(fields.SAFE_ID, id):
            raise DownloadError(f"{id!r} is no id of letters, digits, '_', '.' and '-'")
    Path(folder).mkdir(parents=True, exist_ok=True)
    rows, found, faults, in_a_row = [], {}, [], 0
    with requests.Session() as session:
        for record in jobs.progress(records, len(records), "structures"):
            stem, path = find(record, mirror)
            if stem not in found:
                try:
                    if path:
                        found[stem] = _take(record, stem, path, mirror, folder)
                    else:
                        found[stem] = _fetch_entry(record, session, archive, Path(cache), offline, folder)
                        in_a_row = 0
                except MissingEntry as fault:
                    logging.warning("%s: %s", stem, fault)
                    found[stem] = {"source": fault.source, "reason": str(fault)}
                    in_a_row = in_a_row + 1 if isinstance(fault, NetworkFault) else 0
                    faults += [fault] if isinstance(fault, NetworkFault) else []
            if in_a_row == GIVE_UP:
                break
            rows.append({"id": record["id"], "entry": record["entry"], **found[stem]})
    if faults:
        where = ", ".join(fault.source for fault in faults)
        raise DownloadError(f"the network failed for {where} ({faults[0]}); run again: {cache} keeps what came")
    tables.write(table, rows, COLUMNS)


def find(record: dict, mirror: list[str]) -> tuple[str, Path | None]:
    """The stem to keep a record's file under, its own id or its entry, and where the file lies; None if nowhere.

    The mirror folders are searched in order, first for the id, then for the entry: flat (`1abc.cif.gz`,
    `pdb1abc.ent.gz`) or in the archive's divided layout (`ab/1abc.cif.gz`). Links are followed.
    """
    id, entry = record["id"], record["entry"]
    if record["file"]:
        return id, Path(record["file"])
    names = {id: [f"{id}{suffix}" for suffix in SUFFIXES]}
    # The entry of a target whose chain is not known is of no use.
    if record["chain"] or not record["target"]:
        flat = [*(f"{entry}{suffix}" for suffix in SUFFIXES), f"pdb{entry}.ent.gz", f"pdb{entry}.ent"]
        names[entry] = [*flat, *(f"{entry[1:3]}/{name}" for name in flat)]
    for stem in names:
        for path in (os.path.join(folder, name) for folder in mirror for name in names[stem]):
            if os.path.isfile(path):
                return stem, Path(path)
    return stem, None


def _take(record, stem, path, mirror, folder):
    """The row's fields for a file that lies here, once it is copied."""
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    row = {"file": f"{stem}{suffix}", "numbering": "author", "source": path}
    row["sha256"] = _copy(path, Path(folder, row["file"]))
    deposited = (record["entry"], f"{record['entry']}_{record['chain']}")
    # Without a chain the file is the target, even if it is called like its entry.
    if record["target"] and (not record["chain"] or stem not in deposited):
        row["numbering"], name = "position", f"{stem}.fasta"
        if sequence := next((home for home in mirror if os.path.isfile(os.path.join(home, name))), None):
            row |= {"sequence": name, "sequence_sha256": _copy(Path(sequence, name), Path(folder, name))}
    return row


def _copy(path, target):
    try:
        if not path.is_file():
            raise MissingEntry("not a file" if path.exists() else "no such file", str(path))
        content = path.read_bytes()
    except OSError as fault:
        raise MissingEntry(fault.strerror.lower(), str(path)) from None
    with tables.whole_file(target) as temporary:
        temporary.write_bytes(content)
        return _checked_sha256(temporary, path)


def _fetch_entry(record, session, archive, cache, offline, folder):
    """The row's fields for an entry of the archive, once it is fetched."""
    entry = record["entry"]
    if not record["chain"] and record["target"]:
        raise MissingEntry("not in the mirror, and without a chain id the archive has nothing to ask for")
    if offline:
        raise MissingEntry("not in the mirror, and inputs.offline forbids the archive")
    name = f"{entry}.cif.gz"
    url, kept = f"{archive}/{entry[1:3]}/{name}", cache / entry[1:3] / name
    if not kept.is_file():
        fetch(session, url, kept)
    return {"file": name, "numbering": "author", "source": url, "sha256": _copy(kept, Path(folder, name))}


def _wait(state):
    """Seconds before the next attempt: what the server asked for, else 1, 2, 4, ..."""
    asked = state.outcome.exception().wait
    return 2.0 ** (state.attempt_number - 1) if asked is None else asked


def _is_worth_another(fault):
    return isinstance(fault, NetworkFault) and (fault.wait or 0) <= LONGEST_WAIT


@tenacity.retry(
    retry=tenacity.retry_if_exception(_is_worth_another),
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=_wait,
    before_sleep=tenacity.before_sleep_log(logging.getLogger(__name__), logging.WARNING),
    reraise=True,
)
def fetch(session: requests.Session, url: str, target: Path) -> None:
    """Download a file whole. A `.gz` is read through before it counts, and the sha256 that the server names, as the
    Hugging Face hub does, is verified.

    Raises NetworkFault once the attempts are used up, MissingEntry at once for what no attempt can mend.
    """
    try:
        # identity, and the raw body: the bytes are wanted as stored, whatever encoding the server names.
        headers = {"Accept-Encoding": "identity"}
        with session.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            if not response.url.startswith(url.partition(":")[0]):
                raise MissingEntry(f"sent on to {response.url}, which is not secure", url)
            if response.status_code in BUSY:
                wait = _retry_after(response)
                asked = f", asks to wait {wait:.0f} s" if wait else ""
                raise NetworkFault(f"HTTP status {response.status_code}{asked}", url, wait)
            if response.status_code == requests.codes.not_found:
                raise NotThere("HTTP status 404", url)
            if response.status_code != requests.codes.ok:
                raise MissingEntry(f"HTTP status {response.status_code}", url)
            with tables.whole_file(target) as temporary:
                with open(temporary, "wb") as handle:
                    # urllib3 refuses a body that is shorter than its Content-Length.
                    shutil.copyfileobj(response.raw, handle)
                named, own = _named_sha256(response), _checked_sha256(temporary, url, NetworkFault)
                if named and own != named:
                    raise NetworkFault("what came is not what the archive names (sha256 differs)", url)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as fault:
        raise NetworkFault(" ".join(f"{type(fault).__name__}: {fault}".split()), url) from fault


def _named_sha256(response):
    """The hub names a large file's where it sends on to the place of the file; other files have other tags."""
    tags = [answer.headers.get("X-Linked-Etag", "").strip('"') for answer in (*response.history, response)]
    return next((tag for tag in tags if re.fullmatch(r"[0-9a-f]{64}", tag)), None)


def _retry_after(response):
    try:
        return urllib3.Retry().get_retry_after(response.raw)
    except urllib3.exceptions.InvalidHeader:
        return None


def _checked_sha256(path, source, fault=MissingEntry):
    """sha256 of the file at `path`; one named `.gz` at its source must be a whole gzip file, else raises `fault`."""
    if str(source).endswith(".gz"):
        try:
            with gzip.open(path) as handle:
                while handle.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error) as cause:
            raise fault(f"broken gzip file ({cause})", str(source)) from None
    return tables.sha256(path)

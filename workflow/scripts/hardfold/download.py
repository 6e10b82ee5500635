"""PDB entries: copied from a mirror folder, else fetched from the archive over HTTPS.

A file appears whole and checked or not at all; an entry that cannot be had becomes a row with its reason.
"""

import gzip
import logging
import shutil
import zlib
from pathlib import Path

import requests
import tenacity
import urllib3

from hardfold import jobs, tables

COLUMNS = ["id", "chain", "entry", "source", "sha256", "reason"]
ATTEMPTS = 5
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the body
LONGEST_WAIT = 60.0  # seconds between two attempts, whatever the server asks for
GIVE_UP = 3  # entries in a row that the network failed for: the archive is not asked for the rest of the shard
BUSY = {429, 500, 502, 503, 504}


class DownloadError(RuntimeError):
    """A shard of which nothing could be downloaded, with the cause in one line."""


class MissingEntry(LookupError):
    """An entry that cannot be had: its reason, and where it was looked for."""

    def __init__(self, reason: str, source: str = ""):
        super().__init__(reason)
        self.source = source


class NetworkFault(MissingEntry):
    """The network or the server failed; another attempt may succeed, after `wait` seconds if the server said so."""

    def __init__(self, reason: str, source: str, wait: float | None = None):
        super().__init__(reason, source)
        self.wait = wait


def download_shard(*, records: list[dict], mirror: str, archive: str, offline: bool, folder: Path, table: Path) -> None:
    """Put each entry of the records (id, chain) into `folder` as `<entry>.<suffix>` and write a row for each record.

    An entry that cannot be had is a row with the reason. Raises DownloadError if the network failed for several entries
    in a row or for all, or if the mirror folder does not exist.
    """
    if mirror and not Path(mirror).is_dir():
        raise DownloadError(f"inputs.mirror: {mirror} is no folder")
    for record in records:
        if not tables.CHAIN_ID.match(record["chain"]):
            raise DownloadError(f"{record['chain']!r} is not a chain id such as 1abc_A")
    Path(folder).mkdir(parents=True, exist_ok=True)
    entries = sorted({record["chain"].split("_")[0] for record in records})
    found, faults, in_a_row = {}, [], 0
    with requests.Session() as session:
        for entry in jobs.progress(entries, len(entries), "entries"):
            url = "" if offline else f"{archive}/{entry[1:3]}/{entry}.cif.gz"
            try:
                if path := find_in_mirror(mirror, entry):
                    found[entry] = (str(path), _copy(path, Path(folder, entry + _suffix(path))), "")
                elif offline:
                    raise MissingEntry("not in the mirror, and inputs.offline forbids the archive")
                else:
                    found[entry] = (url, fetch(session, url, Path(folder, f"{entry}.cif.gz")), "")
                    in_a_row = 0
            except MissingEntry as fault:
                found[entry] = (fault.source, "", str(fault))
                if isinstance(fault, NetworkFault):
                    in_a_row += 1
                    faults.append(fault)
                else:
                    in_a_row = 0
                logging.warning("%s: %s", entry, fault)
            # An outage must not become a smaller data set.
            if in_a_row == GIVE_UP:
                raise DownloadError(f"{GIVE_UP} entries in a row could not be fetched from {archive}: {faults[0]}")
    if entries and len(faults) == len(entries):
        raise DownloadError(f"none of {len(entries)} entries could be fetched from {archive}: {faults[0]}")
    rows = [{**record, "entry": record["chain"].split("_")[0]} for record in records]
    for row in rows:
        row["source"], row["sha256"], row["reason"] = found[row["entry"]]
    tables.write(table, rows, COLUMNS)


def find_in_mirror(mirror: str, entry: str) -> Path | None:
    """The entry's file in a flat folder or in the archive's divided layout (`ab/1abc.cif.gz`); None if absent."""
    names = (f"{entry}.cif.gz", f"{entry}.cif", f"pdb{entry}.ent.gz", f"{entry}.pdb")
    candidates = [folder / name for folder in (Path(mirror), Path(mirror, entry[1:3])) for name in names]
    return next(filter(Path.is_file, candidates), None) if mirror else None


def _suffix(path):
    """`.cif.gz`, `.cif`, `.pdb.gz` or `.pdb`: how the parser tells the formats apart."""
    return "".join(path.suffixes).replace(".ent", ".pdb")


def _copy(path, target):
    with tables.whole_file(target) as temporary:
        shutil.copyfile(path, temporary)
        return _checked_sha256(temporary, path)


def _wait(state):
    """Seconds before the next attempt: what the server asked for, else 1, 2, 4, ..."""
    asked = state.outcome.exception().wait
    return min(LONGEST_WAIT, 2.0 ** (state.attempt_number - 1) if asked is None else asked)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(NetworkFault),
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    wait=_wait,
    before_sleep=tenacity.before_sleep_log(logging.getLogger(__name__), logging.WARNING),
    reraise=True,
)
def fetch(session: requests.Session, url: str, target: Path) -> str:
    """Download a file whole; returns its sha256. A `.gz` is read through before it counts.

    Raises NetworkFault once the attempts are used up, MissingEntry at once for what no attempt can mend.
    """
    try:
        # identity, and the raw body: the bytes are wanted as stored, whatever encoding the server names.
        headers = {"Accept-Encoding": "identity"}
        with session.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            if response.status_code in BUSY:
                raise NetworkFault(f"HTTP status {response.status_code}", url, _retry_after(response))
            if response.status_code != requests.codes.ok:
                raise MissingEntry(f"HTTP status {response.status_code}", url)
            with tables.whole_file(target) as temporary:
                with open(temporary, "wb") as handle:
                    shutil.copyfileobj(response.raw, handle)
                return _checked_sha256(temporary, url, NetworkFault)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as fault:
        raise NetworkFault(f"{type(fault).__name__}: {fault}", url) from fault


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

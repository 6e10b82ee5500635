"""Files that appear whole, and tab-separated tables: read with checks that name the fault, written sorted.

Only `read` needs pandas: importing it would be a third of what a shard's job takes to start.
"""

import csv
import glob
import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, suppress
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class TableError(ValueError):
    """A table that cannot be used; the message names the file, the row and the fault."""


def read_lines(path: Path) -> dict[int, str]:
    """Line number in the file -> line, without blank lines and those that begin with '#'. UTF-8, any line ends."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as fault:
        raise TableError(f"{path}: {fault.strerror.lower()}") from None
    except UnicodeDecodeError as fault:
        line = fault.object.count(b"\n", 0, fault.start) + 1
        raise TableError(f"{path}, line {line}: not UTF-8 text") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return {number: line for number, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")}


def read(path: Path, required: Iterable[str] = (), key: str | None = None) -> "pd.DataFrame":
    """All columns as text, empty for unknown, by line number. `key` names a column of present and unique values."""
    import pandas as pd

    header, rows = _parse(path, required, key)
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=header, dtype=str)


def read_rows(path: Path, required: Iterable[str] = (), key: str | None = None) -> list[dict[str, str]]:
    """The same as a list of rows."""
    header, rows = _parse(path, required, key)
    return [dict(zip(header, fields, strict=True)) for fields in rows.values()]


def _parse(path, required=(), key=None):
    """The header, and line number -> fields."""
    rows = {number: _fields(path, number, line) for number, line in read_lines(path).items()}
    if not rows:
        raise TableError(f"{path}: not a tab-separated table with a header, it is empty")
    header = rows.pop(next(iter(rows)))
    if len(set(header)) < len(header):
        raise TableError(f"{path}: a column stands twice in the header {', '.join(header)}")
    if missing := [name for name in required if name not in header]:
        raise TableError(f"{path}: column {', '.join(missing)} is missing; it has {', '.join(header)}")
    for number, fields in rows.items():
        if any(fields[len(header) :]):
            raise TableError(f"{path}, line {number}: {len(fields)} fields, but {len(header)} in the header")
        fields[len(header) :] = []
        fields += [""] * (len(header) - len(fields))
    if key is not None:
        place, seen = header.index(key), {""}
        for number, fields in rows.items():
            if fields[place] in seen:
                raise TableError(f"{path}, line {number}: {key} {fields[place]!r} is empty or stands twice")
            seen.add(fields[place])
    return header, rows


def _fields(path, number, line):
    if '"' not in line:
        return line.split("\t")
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as fault:
        raise TableError(f"{path}, line {number}: a field is wrongly quoted ({fault})") from None


def write(path: Path, rows: "pd.DataFrame | list[Mapping]", columns: list[str], ordered: bool = False) -> None:
    """Write the columns in this order, a line a row; None and NaN become empty fields, floats have six digits. Rows are
    sorted by the first columns, unless they are `ordered` already."""
    records = rows if isinstance(rows, list) else rows[columns].to_dict("records")
    values = [[row.get(column) for column in columns] for row in records]
    if not ordered:
        values.sort(key=lambda row: [(_is_unknown(value), value) for value in row[:4]])
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(value) for value in row] for row in values)


def _is_unknown(value):
    return value is None or value != value


def _text(value):
    if _is_unknown(value):
        return ""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{float(value):.6g}"
    return re.sub(r"[\r\n]+", " ", str(value))


def concatenate(paths: Iterable[Path], path: Path) -> None:
    """Join tables of equal columns into one, sorted by the first columns."""
    parts = [_parse(part) for part in paths]
    rows = [dict(zip(header, fields, strict=True)) for header, found in parts for fields in found.values()]
    write(path, rows, parts[0][0])


@contextmanager
def whole_file(path: Path):
    """Yield a temporary name beside `path` that replaces it on success: a reader never sees half a file.

    What a writer on this machine left that was killed is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = f".{path.name}.{platform.node()}"
    for left in path.parent.glob(f"{glob.escape(stem)}.*.part"):
        if not _is_alive(int(left.suffixes[-2][1:])):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f"{stem}.{os.getpid()}.part")
    try:
        yield temporary
        # Some writers make private files: the result gets the mode that any new file would have.
        os.umask(umask := os.umask(0))
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except Exception as fault:
        # Of a full disk the libraries' own words name no file, torch's not even the disk.
        free = shutil.disk_usage(path.parent).free
        fault.add_note(f"{path} could not be written ({free >> 20} MiB are free there)")
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    with suppress(PermissionError):  # another user's
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def write_json(path: Path, content: Mapping) -> None:
    """Write `content` as a JSON file. Raises ValueError for NaN and infinity: what is not known is null."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The file's sha256, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

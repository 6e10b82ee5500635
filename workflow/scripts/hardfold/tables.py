"""Files that appear whole, and tab-separated tables: read with checks that name the fault, written sorted."""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

# One path component, one shell word: letters, digits, underscore, dot, hyphen; never a leading dot or hyphen.
SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
CHAIN_ID = re.compile(r"[0-9][a-z0-9]{3}_[A-Za-z0-9]{1,4}\Z")


class TableError(ValueError):
    """A table that cannot be used; the message names the file, the row and the fault."""


def read(path: Path, required: Iterable[str] = (), key: str | None = None) -> pd.DataFrame:
    """All columns as text, empty for unknown. `key` names a column whose values must be present and unique."""
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as fault:
        raise TableError(f"{path}: not a tab-separated table with a header ({fault})") from None
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise TableError(f"{path}: column {', '.join(missing)} is missing; it has {', '.join(table.columns)}")
    if key is not None:
        repeated = table[key][table[key].duplicated() | (table[key] == "")]
        if len(repeated):
            raise TableError(f"{path}: {key} {repeated.iloc[0]!r} is empty or stands twice")
    return table


def read_chains(path: Path) -> pd.DataFrame:
    """Chains to train and test on: chain (`1abc_A`), auth_range (`5-120`, optional), split (optional)."""
    table = read(path, ["chain"], key="chain")
    for column in ("auth_range", "split"):
        if column not in table:
            table[column] = ""
    _check_pattern(path, table["chain"], CHAIN_ID, "a chain id such as 1abc_A")
    _check_ranges(path, table)
    for split in sorted(set(table["split"]) - {"", "train", "validation", "test"}):
        raise TableError(f"{path}: split {split!r} is not train, validation, test or empty")
    return table.sort_values("chain", ignore_index=True)


def read_targets(path: Path) -> pd.DataFrame:
    """Targets: target, chain, class, and optionally auth_range, units, round, in_baseline_training_period.

    units: evaluation units in target positions, `D1:1-154;D2:155-273`.
    """
    table = read(path, ["target", "chain", "class"], key="target")
    for column in ("auth_range", "units", "round", "in_baseline_training_period"):
        if column not in table:
            table[column] = ""
    _check_pattern(path, table["target"], SAFE_ID, "letters, digits, '_', '.' and '-'")
    _check_pattern(path, table["chain"], CHAIN_ID, "a chain id such as 1abc_A")
    _check_ranges(path, table)
    for row, (units, period, kind) in enumerate(
        zip(table["units"], table["in_baseline_training_period"], table["class"], strict=True), start=2
    ):
        try:
            parse_units(units)
        except TableError as fault:
            raise TableError(f"{path}, line {row}: {fault}") from None
        if period not in ("", "yes", "no"):
            raise TableError(f"{path}, line {row}: in_baseline_training_period {period!r} is not yes, no or empty")
        if kind in ("", "all"):
            raise TableError(f"{path}, line {row}: class {kind!r} is empty or means every target")
    return table.sort_values("target", ignore_index=True)


def parse_range(text: str) -> tuple[int, int] | None:
    """`5-120` (either end may be negative) -> (5, 120); empty -> None."""
    if not text:
        return None
    match = re.fullmatch(r"(-?\d+)-(-?\d+)", text)
    if not match or int(match[1]) > int(match[2]):
        raise TableError(f"{text!r} is not a range such as 5-120")
    return int(match[1]), int(match[2])


def parse_units(text: str) -> dict[str, list[tuple[int, int]]]:
    """`D1:1-154;D2:155-200,210-273` -> unit -> ranges of target positions, both ends included."""
    units = {}
    for part in filter(None, text.split(";")):
        name, _, ranges = part.partition(":")
        if not re.fullmatch(r"D\d+", name) or not ranges:
            raise TableError(f"{part!r} is not an evaluation unit such as D1:1-154")
        if name in units:
            raise TableError(f"evaluation unit {name} stands twice; write D1:1-5,10-20")
        units[name] = [parse_range(piece) for piece in ranges.split(",")]
    return units


def _check_pattern(path, values, pattern, meaning):
    for row, value in enumerate(values, start=2):
        if not pattern.match(value):
            raise TableError(f"{path}, line {row}: {value!r} is not {meaning}")


def _check_ranges(path, table):
    for row, value in enumerate(table["auth_range"], start=2):
        try:
            parse_range(value)
        except TableError as fault:
            raise TableError(f"{path}, line {row}: {fault}") from None


def write(path: Path, rows: pd.DataFrame | list[Mapping], columns: list[str]) -> None:
    """Write the columns in this order, rows sorted by the first ones; None and NaN become empty fields."""
    table = pd.DataFrame(rows, columns=columns) if not isinstance(rows, pd.DataFrame) else rows[columns]
    if len(table):
        table = table.sort_values(columns[: min(4, len(columns))], ignore_index=True)
    with whole_file(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, lineterminator="\n", float_format="%.6g")


def concatenate(paths: Iterable[Path], path: Path) -> None:
    """Join tables of equal columns into one, sorted by the first column."""
    tables = [pd.read_csv(part, sep="\t", dtype=str, keep_default_na=False) for part in paths]
    write(path, pd.concat(tables, ignore_index=True), list(tables[0].columns))


@contextmanager
def whole_file(path: Path):
    """Yield a temporary name beside `path` that replaces it on success: a reader never sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        # Some writers make private files: the result gets the mode that any new file would have.
        os.umask(umask := os.umask(0))
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping) -> None:
    """Write `content` as a JSON file. Raises ValueError for NaN and infinity: what is not known is null."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def sha256(path: Path) -> str:
    """The file's sha256, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

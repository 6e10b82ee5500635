"""What a field of the lists of chains and targets may hold. Imports no pandas: every shard's job asks."""

import re
from datetime import date

from hardfold.tables import TableError

# One path component, one shell word: letters, digits, underscore, dot, hyphen; never a leading dot or hyphen.
SAFE_ID = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"
CHAIN_NAME = r"[A-Za-z0-9]{1,4}"


def parse_range(text: str) -> tuple[int, int] | None:
    """`5-120` (either end may be negative) -> (5, 120); empty -> None."""
    if not text:
        return None
    match = re.fullmatch(r"(-?[0-9]+)-(-?[0-9]+)", text)
    if not match or int(match[1]) > int(match[2]):
        raise TableError(f"{text!r} is not a range such as 5-120")
    return int(match[1]), int(match[2])


def parse_units(text: str) -> dict[str, list[tuple[int, int]]]:
    """`D1:1-154;D2:155-200,210-273` -> unit -> ranges of target positions, both ends included."""
    units = {name: [parse_range(piece) for piece in ranges.split(",")] for name, ranges in _by_unit(text, "D1:1-154")}
    for name, ranges in units.items():
        if None in ranges or min(ranges)[0] < 1:
            raise TableError(f"evaluation unit {name} is not of positions from 1 on")
    return units


def parse_unit_classes(text: str) -> dict[str, str]:
    """`D2:FM;D3:FM/TBM` -> unit -> class."""
    return dict(_by_unit(text, "D2:FM"))


def is_date(text: str) -> bool:
    """Whether the text is a day of the calendar, YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _by_unit(text, example):
    pairs = [part.partition(":")[::2] for part in text.split(";") if part]
    for name, value in pairs:
        if not re.fullmatch(r"D[0-9]+", name) or not value:
            raise TableError(f"{text!r} is not of evaluation units such as {example}")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise TableError(f"{text!r}: an evaluation unit stands twice; write D1:1-5,10-20")
    return pairs

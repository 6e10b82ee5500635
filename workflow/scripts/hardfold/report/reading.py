"""Files of results/, read and checked: what one lacks is named with its path."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from hardfold import tables


class ResultsError(ValueError):
    """A result file that is absent, incomplete or contradicts itself; the message names it."""


def present(path: Path) -> Path:
    if not path.is_file():
        raise ResultsError(f"{path}: no such file")
    return path


def read_json(path: Path, required: Iterable[str]) -> dict:
    try:
        content = json.loads(present(path).read_text())
    except json.JSONDecodeError as fault:
        raise ResultsError(f"{path}: not JSON ({fault})") from None
    require(path, content, required)
    return content


def require(path: Path, content: dict, required: Iterable[str], where: str = "") -> None:
    if missing := sorted(set(required) - set(content)):
        raise ResultsError(f"{path}: {where}{', '.join(missing)} missing")


def read_table(path: Path, text: Iterable[str], numbers: Iterable[str] = (), separator: str = "\t") -> pd.DataFrame:
    """A table whose `numbers` columns are floats (NaN where empty)."""
    try:
        table = tables.read(path, [*text, *numbers]) if separator == "\t" else _comma_separated(path, numbers)
    except tables.TableError as fault:
        raise ResultsError(str(fault)) from None
    for column in numbers:
        values = pd.to_numeric(table[column].replace("", None), errors="coerce")
        if len(wrong := table[column][values.isna() & (table[column] != "")]):
            raise ResultsError(f"{path}: column {column} holds {wrong.iloc[0]!r}, which is no number")
        table[column] = values.astype(float)
    return table


def _comma_separated(path: Path, required: Iterable[str]) -> pd.DataFrame:
    table = pd.read_csv(present(path), dtype=str, keep_default_na=False)
    require(path, dict.fromkeys(table.columns), required, "column ")
    return table

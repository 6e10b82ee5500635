"""The classes of targets, and which of them are hard: said here alone."""

from collections.abc import Iterable

import pandas as pd

ALL, HARD = "all", "hard"  # groups of targets; every class is a group, too
# CASP's free-modelling classes and the hardest of the template-based ones, and what a table itself calls hard.
# `FM|FM/TBM` is of lists that do not separate the two.
HARD_CLASSES = ("FM", "FM|FM/TBM", "FM/TBM", "TBM-hard", HARD)


def is_hard(classes: Iterable[str]) -> bool:
    """Of a target's class and those of its evaluation units: whether one of them is hard."""
    return not set(HARD_CLASSES).isdisjoint(classes)


def grouped(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`all`, `hard` and each class that there is -> its rows of a table with the columns class and hard (true, false);
    rows without a class are of `all` alone.
    """
    classes = [name for name in sorted(table["class"].unique()) if name not in ("", HARD)]
    groups = {ALL: table, HARD: table[table["hard"]]} | {name: table[table["class"] == name] for name in classes}
    return {name: rows for name, rows in groups.items() if len(rows)}


def with_hard(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores by target, unit and class with a column hard: of a chain, whether its class or that of one of the target's
    units is hard, of a unit whether its own is.
    """
    own = scores["class"].isin(HARD_CLASSES)
    of_target = scores["target"].isin(scores["target"][own])
    return scores.assign(hard=own | (of_target & (scores["unit"] == "chain")))


def named(group: str) -> str:
    """A group in words: `all targets`, `targets of class deep`."""
    if group == HARD:
        *most, last = HARD_CLASSES
        return f"hard targets (of class {', '.join(most)} or {last}, or with an evaluation unit of such a class)"
    return "all targets" if group == ALL else f"targets of class {group}"

"""What a run is asked for: chains, whole entries and targets, out of tables, lists and folders, checked.

Imports no parser of structures and no torch: the Snakefile reads the lists again for every cluster job.
"""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from hardfold.fields import CHAIN_NAME, SAFE_ID, is_date, parse_range, parse_unit_classes, parse_units
from hardfold.tables import TableError, read, read_lines

_PDB_ID = r"[0-9][a-z0-9]{3}"
_CHAIN_ID = rf"{_PDB_ID}_{CHAIN_NAME}"
# The stem of `1abc.cif`, `pdb1abc.ent` or `1abc_A.pdb`, and any other name.
_PDB_STEM = re.compile(rf"(?:(?i:pdb)(?!.*_))?([0-9][A-Za-z0-9]{{3}})(?:_({CHAIN_NAME}))?\Z")
_ANY_STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,58}\Z")
_SUFFIX = re.compile(r"\.(cif|mmcif|pdb|ent)(\.gz)?\Z", re.IGNORECASE)


def read_inputs(chains: str | list[str], targets: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`read_chains` and `read_targets`; raises TableError, also where a chain and a target would share an id."""
    chain_table, target_table = read_chains(chains), read_targets(targets)
    taken = set(chain_table["chain"])
    for name in target_table["target"].tolist():
        # `1abc` among the chains stands for 1abc_A, too.
        if name in taken or name.rpartition("_")[0] in taken:
            raise TableError(f"{targets}: {name} is a target, and inputs.chains names it (or its whole entry), too")
    return chain_table, target_table


def records(chains: pd.DataFrame, targets: pd.DataFrame) -> dict[str, dict]:
    """What jobs must know of each chain, entry and target, by id: id, entry, chain (the author's name; empty for a
    whole entry and for a target without one), auth_range, file (its own, in a folder of structures), stamp (of that
    file: another size or time is another job), target (a bool).
    """
    found = {}
    for table, key in ((chains, "chain"), (targets, "target")):
        columns = [table[column].tolist() for column in (key, "entry", "chain", "auth_range", "file", "stamp")]
        for id, entry, chain, auth_range, file, stamp in zip(*columns, strict=True):
            name = chain.partition("_")[2]
            found[id] = {"id": id, "entry": entry, "chain": name, "auth_range": auth_range, "file": file}
            found[id] |= {"stamp": stamp, "target": key == "target"}
    return found


def read_chains(source: str | Path | list[str]) -> pd.DataFrame:
    """Chains to train and test on, sorted: chain (`1abc_A`; `1abc` stands for all protein chains of the entry), entry,
    auth_range (`5-120`), split, file, and what else a table has.

    source: a table (.tsv) with the column chain, a list of ids, any other file with an id a line, or a folder of
    structure files, each an entry unless named like a chain. Raises TableError with the line, item or file at fault.
    """
    table, place = _list_folder(source) if _is_folder(source) else _read_ids(source)
    if table.empty:
        raise TableError(f"{source or 'inputs.chains'}: no chain is named")
    for where, id in table["chain"][table["chain"].duplicated()].items():
        raise TableError(f"{place}{where}: {id} stands twice, first at {table.index[table['chain'] == id][0]}")
    is_whole = table["chain"] == table["entry"]
    is_beside = ~is_whole & table["entry"].isin(table["entry"][is_whole])
    _refuse(table["chain"], is_beside, place, "is named beside its entry, which stands for all of its chains")
    _refuse(table["auth_range"], is_whole & (table["auth_range"] != ""), place, "is a range of no chain in particular")
    _check(table["auth_range"], parse_range, place)
    splits = ["", "train", "validation", "test"]
    _refuse(table["split"], ~table["split"].isin(splits), place, "is not train, validation, test or empty")
    return table.sort_values("chain", ignore_index=True)


def read_targets(path: str | Path) -> pd.DataFrame:
    """Targets, sorted: target, chain (empty: only a mirror can supply it), entry, class, auth_range, units
    (`D1:1-154;D2:155-273`, target positions), unit_classes (`D2:FM`), round, release_date, in_baseline_training_period,
    and what else the table has. Raises TableError with the line at fault.
    """
    place = f"{path}, line "
    table = read(path, ["target", "chain", "class"], key="target")
    optional = ["auth_range", "units", "unit_classes", "round", "release_date", "in_baseline_training_period"]
    _complete(table, place, optional, whole_entries=False)
    _refuse(table["target"], _unlike(SAFE_ID, table["target"]), place, "is not of letters, digits, '_', '.' and '-'")
    _refuse(table["class"], table["class"].isin(["", "all"]), place, "as class is empty or means every target")
    no_date = [bool(text) and not is_date(text) for text in table["release_date"]]
    _refuse(table["release_date"], no_date, place, "is not a date such as 2020-05-01")
    period = table["in_baseline_training_period"]
    _refuse(period, ~period.isin(["", "yes", "no"]), place, "as in_baseline_training_period is not yes, no or empty")
    for column, parse in (("auth_range", parse_range), ("units", parse_units), ("unit_classes", parse_unit_classes)):
        _check(table[column], parse, place)
    unknown = [
        not parse_unit_classes(classes).keys() <= parse_units(units).keys()
        for classes, units in zip(table["unit_classes"], table["units"], strict=True)
    ]
    _refuse(table["unit_classes"], unknown, place, "as unit_classes names what is not among the units")
    return table.sort_values("target", ignore_index=True)


def read_reference_scores(path: str | Path | None) -> pd.DataFrame:
    """Published TM-scores to stand beside the run's: target, unit (`chain`, or an evaluation unit), source (whose they
    are), tm; no rows without a path. Raises TableError with the line at fault.
    """
    columns = ["target", "unit", "source", "tm"]
    if not path:
        return pd.DataFrame(columns=columns)
    table, place = read(path, columns)[columns], f"{path}, line "
    for column in ("target", "source"):
        _refuse(table[column], table[column] == "", place, f"is no {column}")
    _refuse(table["unit"], _unlike(r"chain|D[0-9]+", table["unit"]), place, "as unit is neither chain nor D1, D2 ...")
    scores = pd.to_numeric(table["tm"], errors="coerce")
    _refuse(table["tm"], ~scores.between(0, 1), place, "as tm is not a number from 0 to 1")
    repeated = table.duplicated(["target", "unit", "source"])
    _refuse(table["source"], repeated, place, "has two scores of one target and unit")
    return table.assign(tm=scores)


def _is_folder(source):
    return not isinstance(source, list) and Path(source).is_dir()


def _read_ids(source):
    """The table of a list, a text file or a table, and how its places are called."""
    if isinstance(source, list):
        table, place = pd.DataFrame({"chain": source}, range(1, len(source) + 1), dtype=str), "inputs.chains, item "
    elif Path(source).suffix == ".tsv":
        table, place = read(source, ["chain"]), f"{source}, line "
    else:
        lines = read_lines(source)
        table = pd.DataFrame({"chain": [line.strip() for line in lines.values()]}, list(lines), dtype=str)
        place = f"{source}, line "
    _complete(table, place, ["auth_range", "split"], whole_entries=True)
    return table, place


def _list_folder(folder):
    """The same of a folder's structure files; PDB ids become lower case."""
    with os.scandir(folder) as found:
        files = [file for file in found if _SUFFIX.search(file.name) and not file.name.startswith(".")]
        stamps = {file.name: _stamp(file) for file in files}
    rows = []
    for name in sorted(stamps):
        stem = _SUFFIX.sub("", name)
        if pdb := _PDB_STEM.match(stem):
            entry, chain = pdb[1].lower(), pdb[2]
        elif _ANY_STEM.match(stem):
            entry, chain = stem.replace("_", "-"), None  # '_' stands before a chain's name
        else:
            rule = "up to 59 letters, digits, '.', '-' and '_'"
            raise TableError(f"{os.path.join(folder, name)!r}: not named like an entry or a chain ({rule})")
        rows.append([f"{entry}_{chain}" if chain else entry, entry, os.path.join(folder, name), stamps[name], "", ""])
    columns = ["chain", "entry", "file", "stamp", "auth_range", "split"]
    return pd.DataFrame(rows, sorted(stamps), columns, dtype=str), f"{folder}/"


def _stamp(file):
    try:
        status = file.stat()
    except OSError:  # a dangling link: the job says so in the chain's row
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def _complete(table, place, optional, *, whole_entries):
    """Add the columns that the table lacks; chain becomes `1abc_A` (or the entry) and entry `1abc`, out of either."""
    for column in ("entry", *optional):
        if column not in table:
            table[column] = ""
    table["file"] = table["stamp"] = ""
    given = table["entry"]
    _refuse(given, _unlike(rf"({_PDB_ID})?", given), place, "is not an entry such as 1abc, in lower case")
    chains = [
        f"{entry}_{chain}" if entry and chain and "_" not in chain else chain or (entry if whole_entries else "")
        for entry, chain in zip(given.tolist(), table["chain"].tolist(), strict=True)
    ]
    table["chain"] = chains
    pattern = rf"{_PDB_ID}|{_CHAIN_ID}" if whole_entries else rf"({_CHAIN_ID})?"
    _refuse(table["chain"], _unlike(pattern, table["chain"]), place, "is not a chain id such as 1abc_A")
    table["entry"] = [chain.partition("_")[0] or entry for chain, entry in zip(chains, given.tolist(), strict=True)]
    _refuse(table["chain"], (given != "") & (given != table["entry"]), place, "is not of the entry beside it")


def _unlike(pattern, values):
    match = re.compile(rf"(?:{pattern})\Z").match
    return [not match(value) for value in values.tolist()]


def _check(values, parse, place):
    for where, text in zip(values.index, values.tolist(), strict=True):
        try:
            parse(text)
        except TableError as fault:
            raise TableError(f"{place}{where}: {fault}") from None


def _refuse(values, faulty, place, fault):
    for where, value in values[np.asarray(faulty, dtype=bool)].items():
        raise TableError(f"{place}{where}: {value!r} {fault}")

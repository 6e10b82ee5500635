"""Quality control: a shard's chains out of their files, those within the limits kept, a row for each."""

import functools
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hardfold import fields, jobs, tables
from hardfold.geometry import ATOMS
from hardfold.structure.chain import Chain, StructureError, save_chains
from hardfold.structure.parse import Entry

QC_COLUMNS = [
    "chain",
    "label_chain",
    "source",
    "status",
    "reason",
    "length",
    "resolved",
    "method",
    "resolution",
    "release_date",
    "checks_not_possible",
]


def drop_reason(chain: Chain, limits: Mapping) -> str:
    """Why the chain fails the limits of the configuration's `structures`, empty if it passes.

    An unknown resolution or method is no reason: `unknown_fields` names it instead. A chain without a resolved residue
    fails whatever the limits are.
    """
    length = len(chain.sequence)
    fraction, nonstandard = chain.mask.mean(), chain.nonstandard / length
    methods = set(chain.method.split("; "))
    faults = [
        (length < limits["min_length"], f"length {length} below {limits['min_length']}"),
        (length > limits["max_length"], f"length {length} above {limits['max_length']}"),
        (fraction == 0, _why_unresolved(chain)),
        (0 < fraction < limits["min_resolved"], f"resolved fraction {fraction:.3f} below {limits['min_resolved']}"),
        (
            chain.resolution is not None and chain.resolution > limits["max_resolution"],
            f"resolution {chain.resolution} A above {limits['max_resolution']} A",
        ),
        (
            bool(chain.method and limits["methods"]) and methods.isdisjoint(limits["methods"]),
            f"method {chain.method} is not among {', '.join(limits['methods'])}",
        ),
        (
            nonstandard > limits["max_nonstandard"],
            f"nonstandard fraction {nonstandard:.3f} above {limits['max_nonstandard']}",
        ),
    ]
    return "; ".join(text for failed, text in faults if failed)


def _why_unresolved(chain):
    present = np.isfinite(chain.coordinates).all(axis=2).any(axis=0)
    atoms = [name for name, there in zip(ATOMS, present, strict=True) if there]
    if not atoms:
        return "no residue is resolved"
    return "only CA atoms" if atoms == ["CA"] else f"no residue with N, CA and C (atoms: {', '.join(atoms)})"


def unknown_fields(chain: Chain) -> list[str]:
    """The fields that the file leaves unknown, so that nothing could be checked against them.

    `sequence` is one of them where only the residues present tell it: the resolved fraction says little then.
    """
    unknown = [name for name in ("resolution", "method", "release_date") if not getattr(chain, name)]
    return unknown if chain.deposited else [*unknown, "sequence"]


def extract_shard(
    *, records: list[dict], folder: Path, downloads: Path, limits: Mapping, chains: Path, qc: Path
) -> None:
    """Read the shard's records (`inputs.records`) out of `folder`, keep what passes the limits, and write the QC table.

    downloads: the table of `download_shard`. Every record has its row; a whole entry has one for each protein chain,
    or one under its own name if none can be told.
    """
    columns = ["file", "numbering", "source", "sequence", "reason"]
    found = {row["id"]: row for row in tables.read_rows(downloads, columns, key="id")}
    rows = []
    save_chains(chains, _kept(records, found, folder, limits, rows))
    tables.write(qc, rows, QC_COLUMNS)


def _kept(records, found, folder, limits, rows):
    """The chains within the limits, one in memory at a time; every chain's row is appended to `rows`."""
    open_entry = functools.lru_cache(maxsize=1)(Entry)  # records of one file follow each other
    records = sorted(records, key=lambda record: found[record["id"]]["file"])
    for record in jobs.progress(records, len(records), "records"):
        download = found[record["id"]]
        for id, chain in _read_record(record, download, folder, open_entry).items():
            row = {"chain": id, "source": download["source"]}
            if isinstance(chain, Chain):
                row |= _describe(chain, limits)
            else:
                row |= {"status": "dropped", "reason": chain}
            rows.append(row)
            if row["status"] == "kept":
                yield chain
            else:
                logging.warning("%s dropped: %s", id, row["reason"])


def _read_record(record, download, folder, open_entry) -> dict[str, Chain | str]:
    """Id -> chain, or the reason why it cannot be read, of each chain that a record stands for."""
    id = record["id"]
    if download["reason"]:
        return {id: download["reason"]}
    try:
        entry = open_entry(Path(folder, download["file"]))
        if download["numbering"] == "position":
            sequence = read_sequence(Path(folder, download["sequence"])) if download["sequence"] else None
            return {id: entry.model(sequence, id)}
        if record["chain"]:
            return {id: entry.chain(record["chain"], fields.parse_range(record["auth_range"]), id)}
        if not entry.chains:
            raise StructureError("no protein chain")
    except StructureError as fault:
        return {id: str(fault)}
    return {f"{id}_{name}": _read_one(entry, name, f"{id}_{name}") for name in entry.chains}


def _read_one(entry, name, id):
    if not re.fullmatch(fields.CHAIN_NAME, name):
        return f"chain name {name!r} is not of up to 4 letters and digits"
    try:
        return entry.chain(name, id=id)
    except StructureError as fault:
        return str(fault)


def read_sequence(path: Path) -> str:
    """The one sequence of a FASTA file, in capitals. Raises StructureError."""
    try:
        header, *rest = [line.strip() for line in tables.read_lines(path).values()] or [""]
    except tables.TableError as fault:
        raise StructureError(str(fault)) from None
    sequence = "".join(rest).upper().removesuffix("*")
    if not header.startswith(">") or not re.fullmatch("[A-Z]+", sequence):
        raise StructureError(f"{path.name}: not a FASTA file of one protein sequence")
    return sequence


def _describe(chain, limits):
    reason = drop_reason(chain, limits)
    return {
        "label_chain": chain.label_chain,
        "status": "dropped" if reason else "kept",
        "reason": reason,
        "length": len(chain.sequence),
        "resolved": int(chain.mask.sum()),
        "method": chain.method,
        "resolution": chain.resolution,
        "release_date": chain.release_date,
        "checks_not_possible": ",".join(unknown_fields(chain)),
    }

"""Quality control: a shard's chains out of their files, those within the limits kept, a row for each."""

from collections.abc import Mapping
from pathlib import Path

from hardfold import jobs, tables
from hardfold.structure.chain import Chain, StructureError, save_chains
from hardfold.structure.parse import read_chain

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

    An unknown resolution is no reason: `unknown_fields` names it instead.
    """
    length = len(chain.sequence)
    fraction, nonstandard = chain.mask.mean(), chain.nonstandard / length
    faults = [
        (length < limits["min_length"], f"length {length} below {limits['min_length']}"),
        (length > limits["max_length"], f"length {length} above {limits['max_length']}"),
        (fraction < limits["min_resolved"], f"resolved fraction {fraction:.3f} below {limits['min_resolved']}"),
        (
            chain.resolution is not None and chain.resolution > limits["max_resolution"],
            f"resolution {chain.resolution} A above {limits['max_resolution']} A",
        ),
        (
            nonstandard > limits["max_nonstandard"],
            f"nonstandard fraction {nonstandard:.3f} above {limits['max_nonstandard']}",
        ),
    ]
    return "; ".join(text for failed, text in faults if failed)


def unknown_fields(chain: Chain) -> list[str]:
    """The fields that the file leaves unknown, so that nothing could be checked against them."""
    return [name for name in ("resolution", "method", "release_date") if not getattr(chain, name)]


def extract_shard(
    *, records: list[dict], folder: Path, downloads: Path, limits: Mapping, chains: Path, qc: Path
) -> None:
    """Read the shard's records out of `folder`, keep what passes the limits, and give every record its QC row.

    records: id, chain (`1abc_A`) and auth_range of each; downloads: the table of `download_shard`.
    """
    sources = tables.read(downloads, ["id", "source", "reason"], key="id").set_index("id")
    kept, rows = [], []
    for record in jobs.progress(records, len(records), "chains read"):
        source = sources.loc[record["id"]]
        row = {"chain": record["id"], "source": source["source"], "status": "dropped", "reason": source["reason"]}
        if not row["reason"]:
            try:
                chain = _read_record(folder, record)
            except StructureError as fault:
                row["reason"] = str(fault)
            else:
                row |= _describe(chain, limits)
                if row["status"] == "kept":
                    kept.append(chain)
        rows.append(row)
    save_chains(chains, kept)
    tables.write(qc, rows, QC_COLUMNS)


def _read_record(folder, record):
    entry, chain = record["chain"].split("_")
    (path,) = Path(folder).glob(f"{entry}.*")
    return read_chain(path, chain, tables.parse_range(record["auth_range"]), record["id"])


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

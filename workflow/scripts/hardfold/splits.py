"""Training, validation and test chains: no sequence cluster and no PDB entry crosses a split; `leakage` audits them."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hardfold import inputs, leakage, mmseqs, tables
from hardfold.structure.chain import read_sequences

ASSIGNMENT_COLUMNS = ["chain", "cluster", "split"]


class SplitError(ValueError):
    """Chains that cannot be split as configured; the message names them."""


def build_splits(
    shards: Iterable[Path],
    chains: str | list[str],
    targets: Path,
    assignment: Path,
    audit: Path,
    dropped: Path,
    *,
    seed: int,
    identity: float,
    coverage: float,
    fractions: Mapping[str, float],
    cutoff_date: str,
    limits: Mapping[str, float],
    threads: int,
) -> None:
    """Write three tables: the assignment (every kept chain and target), the audit (every held-out one), the dropped.

    `shards`: files of kept structures; `chains`, `targets`: the configuration's inputs; `fractions`: of validation and
    test; `limits`: its splits.leakage. Raises SplitError.
    """
    required = ["train", "validation", "test"]
    proteins = read_proteins(shards, *inputs.read_inputs(chains, targets))
    clustered = {"identity": identity, "coverage": coverage, "threads": threads}
    proteins["cluster"] = mmseqs.cluster(proteins["sequence"], "--cluster-reassign", 1, **clustered)
    proteins["proposed"] = assign(proteins, fractions, seed)
    _require(required, proteins["proposed"], "there are too few clusters")
    hits = leakage.find_hits(proteins["sequence"], proteins["proposed"], limits, threads)
    pairs = leakage.leaks(proteins, hits)
    proteins["split"] = leakage.drop(proteins, pairs, cutoff_date)
    _require(required, proteins["split"], "all of it is too near to held-out chains, or too new")
    logging.info("chains: %s", proteins["split"].value_counts().to_dict())
    tables.write(assignment, proteins.reset_index(names="chain"), ASSIGNMENT_COLUMNS)
    rows = leakage.audit_rows(proteins, hits, pairs, cutoff_date)
    unknown = int((rows["same_entry"] == "").sum())
    logging.info("entry not known, so not checked: %d of %d held-out proteins", unknown, len(rows))
    tables.write(audit, rows, leakage.AUDIT_COLUMNS)
    tables.write(dropped, leakage.dropped_rows(proteins, pairs, cutoff_date), leakage.DROPPED_COLUMNS)


def _require(required, splits, cause):
    if empty := [split for split in required if not (splits == split).any()]:
        raise SplitError(f"no chain for {' and '.join(empty)}: {cause}")


def read_proteins(shards: Iterable[Path], chains: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """Id -> sequence, release_date (the target table's before the file's), entry (empty: unknown) and given (`target`,
    the split that the list of chains gives to the chain or its entry, or empty), sorted by id.
    """
    records = {id: record for shard in shards for id, record in read_sequences(shard).items()}
    if not records:
        raise SplitError("no chain passed the structure checks")
    named = {*chains["chain"], *targets["target"]}
    if strangers := [id for id in records if id not in named and id.partition("_")[0] not in named]:
        raise SplitError(f"{', '.join(strangers)}: in no list of chains and no target")
    proteins = pd.DataFrame.from_dict(records, orient="index", columns=["sequence", "release_date"]).sort_index()
    ids, targets = proteins.index.to_series(), targets.set_index("target")
    split_of = chains.set_index("chain")["split"]
    proteins["entry"] = ids.str.partition("_")[0]
    proteins["given"] = ids.map(split_of).fillna(proteins["entry"].map(split_of)).fillna("")
    known = targets.loc[ids[ids.isin(targets.index)], ["entry", "release_date"]].assign(given="target")
    proteins.update(known[["entry", "given"]])
    proteins.update(known["release_date"][known["release_date"] != ""])
    return proteins


def assign(proteins: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Id -> proposed split, before the audit. Raises SplitError where linked chains were given different splits.

    Whole groups of chains linked by clusters and entries, in the order of sha256(seed:group), each to the split that
    lacks most chains of its fraction. A split given to one chain holds for its group. A chain in the cluster or entry
    of a target is proposed for training, so that the audit shows why it is dropped, and counts for no split.
    """
    cluster, entry, given = proteins["cluster"], proteins["entry"], proteins["given"]
    is_target = given == "target"
    by_target = cluster.isin(cluster[is_target]) | entry.isin(set(entry[is_target]) - {""})
    free = proteins[~is_target & ((given != "") | ~by_target)]
    group = link(free["cluster"], free["entry"])
    asked = free.assign(group=group)[free["given"] != ""].drop_duplicates(["group", "given"])
    for _, chains in asked[asked["group"].duplicated(keep=False)].groupby("group"):
        listed = ", ".join(f"{id} ({choice})" for id, choice in chains["given"].items())
        raise SplitError(f"{listed} are linked by clusters or entries, but were given different splits")
    choice = dict(zip(asked["group"], asked["given"], strict=True))
    sizes = group.value_counts()
    lacking = {"train": 1 - sum(fractions.values()), **fractions}
    lacking = {split: fraction * len(free) for split, fraction in lacking.items()}
    for name, split in choice.items():
        lacking[split] -= sizes[name]
    sizes = sizes.drop(list(choice)).to_dict()
    for name in sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()):
        choice[name] = max(lacking, key=lacking.get)
        lacking[choice[name]] -= sizes[name]
    split = pd.Series("train", index=proteins.index)
    split[is_target] = "target"
    split[free.index] = group.map(choice)
    return split


def link(clusters: pd.Series, entries: pd.Series) -> pd.Series:
    """Id -> the first id of its group: chains that clusters and entries link, directly or through others."""
    if clusters.empty:
        return clusters
    clusters_by_number, entries_by_number = pd.factorize(clusters)[0], pd.factorize(entries)[0]
    offset = clusters_by_number.max() + 1
    links = (np.ones(len(clusters)), (clusters_by_number, offset + entries_by_number))
    size = offset + entries_by_number.max() + 1
    _, components = connected_components(coo_array(links, shape=(size, size)), directed=False)
    group = pd.Series(components[clusters_by_number], index=clusters.index)
    return group.map(group.index.to_series().groupby(group).min())

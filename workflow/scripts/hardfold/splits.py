"""Training, validation and test chains by whole sequence clusters, and the audit that keeps the held-out ones apart.

Held out are the validation chains, the test chains and the targets. No training chain, and for test chains and targets
no validation chain either (it chooses epochs and thresholds), may share a PDB entry or a cluster with them or be found
by a search from them.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hardfold import mmseqs, tables
from hardfold.structure.chain import load_chains

ASSIGNMENT_COLUMNS = ["chain", "cluster", "split"]
AUDIT_COLUMNS = [
    *["chain", "split", "nearest_training", "identity", "coverage", "evalue", "dropped_for_it"],
    *["nearest_kept", "identity_kept", "band", "same_entry", "release_date", "date_barrier"],
]
GENEROUS_EVALUE = 10.0  # the nearest training chain is shown even where it is no homologue


class SplitError(ValueError):
    """Chains that cannot be split as configured; the message names them."""


def build_splits(
    shards: Iterable[Path],
    chains: Path,
    targets: Path,
    assignment: Path,
    audit: Path,
    *,
    seed: int,
    identity: float,
    coverage: float,
    fractions: Mapping[str, float],
    cutoff_date: str,
    leakage: Mapping[str, float],
    threads: int,
) -> None:
    """Write the assignment (every kept chain and target) and the audit (every held-out one) as tables.

    `shards`: files of kept structures; `chains`, `targets`: the input tables; `fractions`: of validation and test;
    `leakage`: the configuration's splits.leakage. Raises SplitError.
    """
    required = ["train", "validation", "test"]
    proteins = read_proteins(shards, chains, targets)
    clusters = mmseqs.cluster(proteins["sequence"], identity=identity, coverage=coverage, threads=threads)
    proteins["cluster"] = merge_entries(clusters, proteins["entry"])
    proteins["proposed"] = assign(proteins, fractions, seed)
    _require(required, proteins["proposed"], "there are too few clusters")
    hits = find_hits(proteins["sequence"], proteins["proposed"], leakage, threads)
    pairs = leaks(proteins, hits)
    proteins["split"] = drop(proteins, pairs)
    _require(required, proteins["split"], "all of it is too near to held-out chains")
    logging.info("chains: %s", proteins["split"].value_counts().to_dict())
    tables.write(assignment, proteins.reset_index(names="chain"), ASSIGNMENT_COLUMNS)
    tables.write(audit, audit_rows(proteins, hits, pairs, leakage["coverage"], cutoff_date), AUDIT_COLUMNS)


def _require(required, splits, cause):
    if empty := [split for split in required if not (splits == split).any()]:
        raise SplitError(f"no chain for {' and '.join(empty)}: {cause}")


def read_proteins(shards: Iterable[Path], chains: Path, targets: Path) -> pd.DataFrame:
    """Id -> sequence, release_date, entry and given (`target`, the chain table's split, or empty), sorted by id."""
    known = tables.read_chains(chains).set_index("chain")["split"]
    owners = tables.read_targets(targets).set_index("target")["chain"]
    rows = {
        chain.id: {
            "sequence": chain.sequence,
            "release_date": chain.release_date,
            "entry": owners.get(chain.id, chain.id).split("_")[0],
            "given": "target" if chain.id in owners.index else known[chain.id],
        }
        for shard in shards
        for chain in load_chains(shard).values()
    }
    if not rows:
        raise SplitError("no chain passed the structure checks")
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()


# Clusters


def merge_entries(clusters: pd.Series, entries: pd.Series) -> pd.Series:
    """Join clusters that share a PDB entry; each is named by its first member."""
    clusters_by_number, entries_by_number = pd.factorize(clusters)[0], pd.factorize(entries)[0]
    offset = clusters_by_number.max() + 1
    links = (np.ones(len(clusters)), (clusters_by_number, offset + entries_by_number))
    size = offset + entries_by_number.max() + 1
    _, components = connected_components(coo_array(links, shape=(size, size)), directed=False)
    joined = pd.Series(components[clusters_by_number], index=clusters.index)
    return joined.groupby(joined).transform(lambda group: min(group.index))


def assign(proteins: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Id -> proposed split, before the audit. Raises SplitError where alike chains were given different splits.

    Whole clusters, in the order of sha256(seed:cluster), each to the split that lacks most chains of its fraction. A
    split given to one chain holds for its cluster. Chains in a target's cluster are proposed for training, so that the
    audit shows why they are dropped.
    """
    split = proteins["given"].copy()
    lacking = {"train": 1 - sum(fractions.values()), **fractions}
    free, counted = {}, []
    for name, members in proteins.groupby("cluster"):
        chains = members[members["given"] != "target"]
        given = chains["given"][chains["given"] != ""]
        if given.nunique() > 1:
            listed = ", ".join(f"{id} ({choice})" for id, choice in given.items())
            raise SplitError(f"{listed} are alike or of one entry, but the chain table gives them different splits")
        if len(given):
            split[chains.index] = given.iloc[0]
        elif len(chains) < len(members):
            split[chains.index] = "train"
            continue
        else:
            free[name] = chains.index
        counted.extend(chains.index)
    for choice, fraction in lacking.items():
        lacking[choice] = fraction * len(counted) - (split[counted] == choice).sum()
    for name in sorted(free, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()):
        choice = max(lacking, key=lacking.get)
        split[free[name]] = choice
        lacking[choice] -= len(free[name])
    return split


# The audit


def find_hits(sequences: pd.Series, split: pd.Series, leakage: Mapping[str, float], threads: int) -> pd.DataFrame:
    """Training and validation chains found from held-out ones: query, subject, identity, coverage (of the shorter one,
    both fractions), evalue and leak, whether the pair crosses `leakage`.

    Two MMseqs2 searches at its sensitivity: a generous one by sequence, whose hits leak by e-value, identity and
    coverage together, and one by profile over all proteins, whose hits leak by e-value alone.
    """
    held_out, exposed = split != "train", split.isin(["train", "validation"])
    common = {"sensitivity": leakage["sensitivity"], "threads": threads}
    options = ["--max-seqs", 100000]
    hits = mmseqs.find_pairs(sequences[held_out], sequences[exposed], "-e", GENEROUS_EVALUE, *options, **common)
    hits["leak"] = (
        (hits["evalue"] <= leakage["evalue"])
        & (hits["identity"] >= leakage["identity"])
        & (hits["coverage"] >= leakage["coverage"])
    )
    options += ["-e", leakage["evalue"], "--e-profile", leakage["evalue"]]
    options += ["--num-iterations", leakage["profile_iterations"]]
    profile = mmseqs.find_pairs(sequences[held_out], sequences, *options, **common).assign(leak=True)
    profile = profile[profile["subject"].map(exposed)]
    # One row a pair: the numbers of the search by sequence where it found the pair too.
    leaking = pd.MultiIndex.from_frame(profile[["query", "subject"]])
    hits["leak"] |= pd.MultiIndex.from_frame(hits[["query", "subject"]]).isin(leaking)
    hits = pd.concat([hits, profile]).drop_duplicates(["query", "subject"])
    return hits[hits["query"] != hits["subject"]].sort_values(["query", "subject"], ignore_index=True)


def leaks(proteins: pd.DataFrame, hits: pd.DataFrame) -> pd.DataFrame:
    """Pairs (query, subject) that may not stay on two sides: a held-out protein and every training chain (for a
    target or test chain every validation chain too) of the clusters that it belongs to or hits.
    """
    cluster, split = proteins["cluster"], proteins["proposed"]
    found = hits[hits["leak"]]
    reached = pd.concat(
        [
            pd.DataFrame({"query": cluster.index, "cluster": cluster})[split != "train"],
            pd.DataFrame({"query": found["query"], "cluster": found["subject"].map(cluster)}),
        ]
    ).drop_duplicates()
    pairs = reached.merge(pd.DataFrame({"subject": cluster.index, "cluster": cluster}), on="cluster")
    is_training = pairs["subject"].map(split) == "train"
    is_chosen_on = (pairs["subject"].map(split) == "validation") & pairs["query"].map(split).isin(["test", "target"])
    return pairs.loc[is_training | is_chosen_on, ["query", "subject"]]


def drop(proteins: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series:
    """Id -> split, `dropped` for what leaks: first to targets and test chains, then to remaining validation chains."""
    split = proteins["proposed"].copy()
    from_scored = pairs["query"].map(split).isin(["test", "target"])
    split[pairs["subject"][from_scored].unique()] = "dropped"
    from_kept = pairs["query"].map(split) != "dropped"
    split[pairs["subject"][from_kept].unique()] = "dropped"
    return split


def audit_rows(
    proteins: pd.DataFrame, hits: pd.DataFrame, pairs: pd.DataFrame, coverage: float, cutoff_date: str
) -> pd.DataFrame:
    """A row for each validation, test and target protein (AUDIT_COLUMNS).

    nearest_training is the hit of the lowest e-value among the chains proposed for training, nearest_kept among those
    kept; `band` is that of identity_kept. Of hits that do not leak only those over `coverage` of the shorter chain
    count: 60 % identity over ten residues is no relation. same_entry: one of its PDB entry was proposed for training.
    """
    rows = proteins[proteins["split"].isin(["validation", "test", "target"])]
    near = hits[hits["leak"] | (hits["coverage"] >= coverage)]
    by_evalue = near.sort_values(["evalue", "identity", "subject"], ascending=[True, False, True])
    nearest = by_evalue[by_evalue["subject"].map(proteins["proposed"]) == "train"].drop_duplicates("query")
    kept = by_evalue[by_evalue["subject"].map(proteins["split"]) == "train"].drop_duplicates("query")
    lost = pairs[pairs["subject"].map(proteins["split"]) == "dropped"].drop_duplicates().sort_values("subject")
    table = rows[["split", "release_date"]].join(
        [
            nearest.set_index("query").rename(columns={"subject": "nearest_training"}),
            kept.set_index("query")[["subject", "identity"]].set_axis(["nearest_kept", "identity_kept"], axis=1),
            lost.groupby("query")["subject"].agg(",".join).rename("dropped_for_it"),
        ]
    )
    training_entries = set(proteins["entry"][proteins["proposed"] == "train"])
    table["same_entry"] = ["yes" if entry in training_entries else "no" for entry in rows["entry"]]
    table["band"] = [band(identity) for identity in table["identity_kept"]]
    table["date_barrier"] = date_barrier(proteins["release_date"][proteins["split"] == "train"], cutoff_date)
    return table.reset_index(names="chain")


def band(identity: float) -> str:
    """The identity band of a fraction; NaN, no hit at all, is `none`."""
    if np.isnan(identity):
        return "none"
    if identity < 0.2:
        return "<20"
    if identity < 0.3:
        return "20-30"
    return "30-50" if identity <= 0.5 else ">50"


def date_barrier(training_dates: Iterable[str], cutoff: str) -> str:
    """passed: every training structure was released before `cutoff` (YYYY-MM-DD); failed: one was not; else unknown."""
    dates = set(training_dates)
    if not cutoff:
        return "unknown"
    if any(date >= cutoff for date in dates if date):
        return "failed"
    return "unknown" if "" in dates else "passed"

"""Arm leave_one_out: folds over the targets; each is predicted by a model that saw neither it nor a relative."""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hardfold import inputs, leakage, tables
from hardfold.dataset import link_chains
from hardfold.splits import read_proteins

COLUMNS = ["target", "class", "fold", "group", "related_to"]


class FoldError(ValueError):
    """Targets that cannot be parted into folds; the message says how many groups there are."""


def build_folds(
    shards: Iterable[Path],
    chains: str | list[str],
    targets: Path,
    assignment: Path,
    dataset: Path,
    table: Path,
    outputs: Sequence[Path],
    *,
    classes: Sequence[str],
    limits: Mapping[str, float],
    seed: int,
    threads: int,
) -> None:
    """Write `table` (COLUMNS), a row a target of these `classes` (none: all), and to `outputs`[k - 1] a data set of the
    targets outside of fold k, out of `dataset`.

    Targets of one cluster of `assignment`, those that the audit's searches (splits.leakage: `limits`) find from each
    other, and those of one PDB entry or CASP complex are relatives. A group of linked relatives is of one fold.
    """
    proteins = read_assigned(shards, chains, targets, assignment)
    proteins["class"] = inputs.read_targets(targets).set_index("target")["class"].reindex(proteins.index)
    chosen = (proteins["split"] == "target") & (proteins["class"].isin(classes) | (not classes))
    relatives = find_relatives(proteins, chosen, limits, threads)
    rows = assign_folds(proteins[chosen], relatives, len(outputs), seed)
    logging.info("targets: %d, groups: %d, folds: %s", len(rows), rows["group"].nunique(), rows["fold"].value_counts())
    for fold, output in enumerate(outputs, start=1):
        link_chains(dataset, rows["target"][rows["fold"] != fold], output)
    tables.write(table, rows, COLUMNS)


def read_assigned(shards: Iterable[Path], chains: str | list[str], targets: Path, assignment: Path) -> pd.DataFrame:
    """`read_proteins` of the configuration's inputs, with the cluster and split that `assignment` gives each."""
    proteins = read_proteins(shards, *inputs.read_inputs(chains, targets))
    return proteins.join(tables.read(assignment, ["cluster", "split"], key="chain").set_index("chain"))


def find_relatives(
    proteins: pd.DataFrame, chosen: pd.Series, limits: Mapping[str, float], threads: int
) -> pd.DataFrame:
    """Pairs of chosen proteins that are related: query, subject, relation (in words); both directions may stand.

    `proteins` by id: sequence, cluster, entry (empty: unknown). The others enrich the profiles of the search.
    """
    # Validation chains are those that the audit both searches from and searches in.
    split = chosen.map({True: "validation", False: "train"})
    hits = leakage.find_hits(proteins["sequence"], split, limits, threads)
    own = proteins[chosen].rename_axis("id").reset_index()
    own["complex"] = (
        own["id"].str.extract(r"^(T\d{4})s\d+$")[0].fillna("")
    )  # CASP's names of subunits: T0953s1, T0953s2
    pairs = [hits[hits["leak"] & hits["subject"].map(chosen)][["query", "subject"]].assign(relation="near")]
    for column, relation in (
        ("entry", "of one entry with"),
        ("complex", "of one complex with"),
        ("cluster", "in one cluster with"),
    ):
        members = own.loc[own[column] != "", ["id", column]]
        both = members.merge(members, on=column, suffixes=("", "_other"))
        both = both[both["id"] != both["id_other"]]
        pairs.append(
            pd.DataFrame({"query": both["id"], "subject": both["id_other"]}, dtype=str).assign(relation=relation)
        )
    return pd.concat(pairs, ignore_index=True).drop_duplicates(["query", "subject"], ignore_index=True)


def assign_folds(targets: pd.DataFrame, relatives: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Rows of COLUMNS for the targets, by id with `class`: the largest groups first, equal ones in an order that the
    seed draws, each to the fold that has the fewest targets so far. Raises FoldError.
    """
    rows = group_relatives(targets.index, relatives)
    rows["class"] = targets["class"].to_numpy()
    sizes = rows["group"].value_counts()
    if len(sizes) < folds:
        raise FoldError(f"folding.leave_one_out.folds: {folds}, but the {len(rows)} targets are of {len(sizes)} groups")
    order = sorted(sizes.index, key=lambda id: (-sizes[id], hashlib.sha256(f"{seed}:{id}".encode()).digest()))
    filled, fold_of = [0] * folds, {}
    for group in order:
        smallest = filled.index(min(filled))
        fold_of[group] = smallest + 1
        filled[smallest] += sizes[group]
    rows["fold"] = rows["group"].map(fold_of)
    return rows


def group_relatives(targets: Sequence[str], relatives: pd.DataFrame) -> pd.DataFrame:
    """A row a target: target, group (the first target of those that are linked, directly or through others) and
    related_to (in words)."""
    place = {id: index for index, id in enumerate(targets)}
    ends = relatives["query"].map(place), relatives["subject"].map(place)
    links = coo_array(([1] * len(relatives), ends), shape=(len(place), len(place)))
    rows = pd.DataFrame({"target": list(targets), "label": connected_components(links, directed=False)[1]})
    rows["group"] = rows.groupby("label")["target"].transform("min")
    near = (relatives["relation"] + " " + relatives["subject"]).groupby(relatives["query"]).agg("; ".join)
    rows["related_to"] = rows["target"].map(near).fillna("")
    return rows

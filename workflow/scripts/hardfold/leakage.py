"""What may not stay in training beside the held-out proteins, and the audit that shows it.

Held out are the validation chains, the test chains and the targets. No training chain, and for test chains and targets
no validation chain either (it chooses epochs and thresholds), may share a PDB entry or a cluster with them, be found
by a search from them, or be of a cluster that is.

Proteins are a table by id with the columns sequence, entry (empty: unknown), cluster (of MMseqs2), release_date
(YYYY-MM-DD, empty: unknown), proposed (train, validation, test, target) and, once decided, split (or `dropped`).
"""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from hardfold import mmseqs

AUDIT_COLUMNS = [
    *["chain", "split", "nearest_training", "identity", "coverage", "evalue", "dropped_for_it"],
    *["nearest_kept", "identity_kept", "band", "same_entry", "release_date", "date_barrier"],
]
DROPPED_COLUMNS = ["chain", "proposed", "reason"]
EXPOSED = ["train", "validation"]  # what a model learns from or is chosen on
SCORED = ["test", "target"]
BANDS = ["none", "<20", "20-30", "30-50", ">50"]  # %, of identity to the nearest training chain, see `band`
GENEROUS_EVALUE = 10.0  # the nearest training chain is shown even where it is no homologue
# A pair's best alignment may be a short one that hides a longer one over the thresholds.
FURTHER_ALIGNMENTS = 5
COPY_IDENTITY = 0.9  # from which likeness counts although it may be one of composition alone


def find_hits(sequences: pd.Series, split: pd.Series, limits: Mapping[str, float], threads: int) -> pd.DataFrame:
    """Training and validation chains found from held-out ones, a row a pair: query, subject, identity, coverage (of the
    shorter one, both fractions), evalue and leak, whether the pair crosses `limits`, those of splits.leakage.

    Three MMseqs2 searches at its sensitivity. A generous one by sequence, low complexity not masked: a pair leaks by
    e-value, identity and coverage of one of its local alignments. The same without MMseqs2's correction for biased
    composition, which hides copies of low complexity (poly-Q, glycine and serine): only alignments of COPY_IDENTITY
    count, as strangers of one biased composition look alike, too. And one by profile over all proteins, whose hits leak
    by e-value alone. Of the others only those over the coverage are near at all: 60 % identity over ten residues is no
    relation. A sequence that is the other, or whole within it, leaks without any search; its e-value may be missing.
    """
    held_out, exposed = split != "train", split.isin(EXPOSED)
    common = {"sensitivity": limits["sensitivity"], "threads": threads}
    unlimited = ["--max-seqs", 100000]
    options = ["-e", GENEROUS_EVALUE, "--mask", 0, "--alt-ali", FURTHER_ALIGNMENTS]
    unbiased = ["--comp-bias-corr", 0, "--min-seq-id", COPY_IDENTITY]
    by_sequence = [
        mmseqs.search(sequences[held_out], sequences[exposed], *unlimited, *options, *further, **common)
        for further in ([], unbiased)
    ]
    found = pd.concat(by_sequence, ignore_index=True)
    options = ["-e", limits["evalue"], "--e-profile", limits["evalue"]]
    options += ["--num-iterations", limits["profile_iterations"]]
    by_profile = mmseqs.search(sequences[held_out], sequences, *unlimited, *options, **common)
    copies = contained(sequences).assign(identity=1.0, coverage=1.0)
    others = pd.concat([by_profile, copies, copies.rename(columns={"query": "subject", "subject": "query"})])
    others = others[others["query"].map(held_out) & others["subject"].map(exposed)].assign(leak=True)
    in_others = _pairs(found).isin(_pairs(others))
    covers = found["coverage"] >= limits["coverage"]
    found["crosses"] = covers & (found["evalue"] <= limits["evalue"]) & (found["identity"] >= limits["identity"])
    found["leak"] = found["crosses"] | in_others
    # The numbers of the search by sequence count where it found the pair too, those that condemn the pair first.
    found = found[covers | in_others].sort_values(["crosses", "evalue"], ascending=[False, True])
    hits = pd.concat([found, others])
    hits = hits[hits["query"] != hits["subject"]].drop_duplicates(["query", "subject"])
    columns = ["query", "subject", "identity", "coverage", "evalue", "leak"]
    return hits.sort_values(["query", "subject"], ignore_index=True)[columns].astype({"leak": bool})


def contained(sequences: pd.Series) -> pd.DataFrame:
    """Pairs of ids, query and subject, where the sequence of the query is that of the subject or whole within it."""
    length = sequences.str.len().min()
    starts = sequences.index.to_series().groupby(sequences.str[:length]).agg(list).to_dict()
    pairs = {
        (query, subject)
        for subject, letters in sequences.items()
        for start in range(len(letters) - length + 1)
        for query in starts.get(letters[start : start + length], ())
        if query != subject and letters.startswith(sequences[query], start)
    }
    return pd.DataFrame(sorted(pairs), columns=["query", "subject"])


def _pairs(hits):
    return pd.MultiIndex.from_frame(hits[["query", "subject"]])


def leaks(proteins: pd.DataFrame, hits: pd.DataFrame) -> pd.DataFrame:
    """Pairs that may not stay on two sides, the closest relation of each: query, subject, relation (in words)."""
    proposed = proteins["proposed"]
    known = proteins[["cluster", "entry"]].rename_axis("id").reset_index()
    queries = known[(proposed != "train").to_numpy()].rename(columns={"id": "query"})
    subjects = known[proposed.isin(EXPOSED).to_numpy()].rename(columns={"id": "subject"})
    found = hits[hits["leak"]].sort_values(["evalue", "query", "subject"], na_position="first")[["query", "subject"]]
    reached = found.assign(cluster=found["subject"].map(proteins["cluster"])).drop_duplicates(["query", "cluster"])
    relations = {
        "near": found,
        "of one entry with": queries[queries["entry"] != ""].merge(subjects, on="entry"),
        "in one cluster with": queries.merge(subjects, on="cluster"),
        "in a cluster near": reached[["query", "cluster"]].merge(subjects, on="cluster"),
    }
    pairs = pd.concat([part[["query", "subject"]].assign(relation=name) for name, part in relations.items()])
    pairs = pairs.drop_duplicates(["query", "subject"])
    learns = pairs["subject"].map(proposed) == "train"
    return pairs[learns | pairs["query"].map(proposed).isin(SCORED)].reset_index(drop=True)


def drop(proteins: pd.DataFrame, pairs: pd.DataFrame, cutoff_date: str) -> pd.Series:
    """Id -> split, `dropped` for what is too new, then for what leaks to targets and test chains, then for what leaks
    to the validation chains that remain.
    """
    split = proteins["proposed"].copy()
    split[split.isin(EXPOSED) & is_late(proteins["release_date"], cutoff_date)] = "dropped"
    for held_out in (SCORED, ["validation"]):
        split[pairs["subject"][pairs["query"].map(split).isin(held_out)].unique()] = "dropped"
    return split


def is_late(dates: pd.Series, cutoff_date: str) -> pd.Series:
    """Whether each date (YYYY-MM-DD) is the cut-off or later; an unknown one, or an empty cut-off, never is."""
    return (dates >= cutoff_date) & (cutoff_date != "")


def dropped_rows(proteins: pd.DataFrame, pairs: pd.DataFrame, cutoff_date: str) -> pd.DataFrame:
    """A row for each dropped chain (DROPPED_COLUMNS) with every reason: its date, and the closest held-out protein."""
    rows = proteins[proteins["split"] == "dropped"]
    near = _kept_pairs(proteins, pairs).groupby("subject")
    closest, others = near.first(), near.size() - 1
    further = others.map(lambda count: f" and {count} more" if count else "")
    near = (closest["relation"] + " " + closest["query"] + further).reindex(rows.index, fill_value="")
    dates = "released " + rows["release_date"] + f", cut-off {cutoff_date}"
    dates = dates.where(is_late(rows["release_date"], cutoff_date), "")
    reasons = ["; ".join(filter(None, both)) for both in zip(dates, near, strict=True)]
    return rows[["proposed"]].assign(reason=reasons).reset_index(names="chain")


def _kept_pairs(proteins, pairs):
    """The pairs whose held-out protein stays: their subjects were dropped for it."""
    return pairs[pairs["query"].map(proteins["split"]) != "dropped"]


def audit_rows(proteins: pd.DataFrame, hits: pd.DataFrame, pairs: pd.DataFrame, cutoff_date: str) -> pd.DataFrame:
    """A row for each validation, test and target protein that stays (AUDIT_COLUMNS).

    nearest_training is the hit of the lowest e-value among the chains proposed for training, nearest_kept among those
    kept; `band` is that of identity_kept. same_entry: a chain of its PDB entry was proposed for training; empty where
    its entry is not known.
    """
    rows = proteins[proteins["split"].isin(["validation", *SCORED])]
    order = {"ascending": [True, False, True], "na_position": "first"}  # no e-value: equal or contained
    by_evalue = hits.sort_values(["evalue", "identity", "subject"], **order)
    nearest = by_evalue[by_evalue["subject"].map(proteins["proposed"]) == "train"].drop_duplicates("query")
    kept = by_evalue[by_evalue["subject"].map(proteins["split"]) == "train"].drop_duplicates("query")
    lost = _kept_pairs(proteins, pairs).sort_values("subject")
    table = rows[["split", "release_date"]].join(
        [
            nearest.set_index("query").rename(columns={"subject": "nearest_training"}),
            kept.set_index("query")[["subject", "identity"]].set_axis(["nearest_kept", "identity_kept"], axis=1),
            lost.groupby("query")["subject"].agg(",".join).rename("dropped_for_it"),
        ]
    )
    training_entries = set(proteins["entry"][proteins["proposed"] == "train"])
    table["same_entry"] = [entry and ("yes" if entry in training_entries else "no") for entry in rows["entry"]]
    table["band"] = [band(identity) for identity in table["identity_kept"]]
    dates = proteins["release_date"][proteins["split"].isin(EXPOSED)]
    table["date_barrier"] = date_barrier(dates, cutoff_date)
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


def date_barrier(dates: Iterable[str], cutoff: str) -> str:
    """passed: every training and validation structure was released before `cutoff` (YYYY-MM-DD); failed: one was not;
    else unknown.
    """
    dates = set(dates)
    if not cutoff:
        return "unknown"
    if any(date >= cutoff for date in dates if date):
        return "failed"
    return "unknown" if "" in dates else "passed"

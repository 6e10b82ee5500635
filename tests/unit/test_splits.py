import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hardfold import splits, tables
from hardfold.splits import SplitError
from hardfold.structure.chain import Chain, save_chains

AMINO_ACIDS = list("ACDEFGHIKLMNPQRSTVWY")
LEAKAGE = {"identity": 0.3, "coverage": 0.5, "evalue": 1e-3, "sensitivity": 7.5, "profile_iterations": 3}
FRACTIONS = {"validation": 0.15, "test": 0.25}


def proteins(**columns):
    return pd.DataFrame(columns, index=[f"p{i}" for i in range(len(next(iter(columns.values()))))])


def hits(*rows):
    """(query, subject, identity, coverage, evalue, leak) rows."""
    return pd.DataFrame(rows, columns=["query", "subject", "identity", "coverage", "evalue", "leak"])


def test_clusters_that_share_an_entry_are_one():
    ids = ["1aaa_A", "1aaa_B", "1bbb_A", "1bbb_B", "1ccc_A"]
    clusters = pd.Series(["x", "y", "y", "z", "w"], index=ids)
    merged = splits.merge_entries(clusters, pd.Series([id[:4] for id in ids], index=ids))
    assert merged.to_dict() == dict.fromkeys(ids[:4], "1aaa_A") | {"1ccc_A": "1ccc_A"}


def test_whole_clusters_fill_the_fractions_the_same_way_each_time():
    table = proteins(given=[""] * 100, cluster=[f"c{i // 2}" for i in range(100)])
    first = splits.assign(table, FRACTIONS, seed=1)
    assert first.groupby(table["cluster"]).nunique().max() == 1
    assert first.value_counts().to_dict() == {"train": 60, "test": 24, "validation": 16}
    assert first.equals(splits.assign(table, FRACTIONS, seed=1))
    assert not first.equals(splits.assign(table, FRACTIONS, seed=2))


def test_given_splits_hold_for_their_cluster_and_count():
    table = proteins(given=["test", "", "", "", "", ""], cluster=["a", "a", "b", "c", "d", "e"])
    split = splits.assign(table, {"validation": 1 / 6, "test": 2 / 6}, seed=1)
    assert split[["p0", "p1"]].tolist() == ["test", "test"]
    assert split.value_counts().to_dict() == {"train": 3, "test": 2, "validation": 1}


def test_contradicting_given_splits_are_refused_by_name():
    table = proteins(given=["test", "train", ""], cluster=["a", "a", "b"])
    with pytest.raises(SplitError, match=r"p0 \(test\), p1 \(train\) are alike"):
        splits.assign(table, FRACTIONS, seed=1)


def test_chains_of_a_targets_cluster_are_proposed_for_training_only():
    table = proteins(given=["target", *[""] * 12], cluster=["a", "a", "a", *(f"c{i}" for i in range(10))])
    split = splits.assign(table, {"validation": 0.3, "test": 0.3}, seed=1)
    assert split[["p0", "p1", "p2"]].tolist() == ["target", "train", "train"]
    assert split[3:].value_counts().to_dict() == {"train": 4, "validation": 3, "test": 3}


@pytest.fixture
def audited():
    """p0 target, p1 test, p2 validation; p3 and p4 one training cluster, p5 in the target's cluster, p6 and p7 far."""
    table = proteins(
        proposed=["target", "test", "validation", "train", "train", "train", "train", "train"],
        cluster=["a", "b", "c", "d", "d", "a", "e", "f"],
        entry=["1aaa", "2aaa", "3aaa", "4aaa", "5aaa", "1aaa", "6aaa", "7aaa"],
        release_date=["2020-01-01", "", "", *["2010-01-01"] * 5],
    )
    found = hits(
        ("p0", "p2", 0.4, 0.9, 1e-9, True),  # target - validation: the validation chain goes
        ("p1", "p3", 0.35, 0.8, 1e-8, True),  # test - training: its cluster goes
        ("p1", "p6", 0.25, 0.7, 0.5, False),  # stays, the nearest kept
        ("p1", "p7", 0.9, 0.1, 0.4, False),  # ten residues: no relation
        ("p2", "p6", 0.5, 0.8, 1e-6, True),  # from a validation chain that goes itself: p6 stays
        ("p1", "p2", 0.9, 0.9, 1e-30, True),  # test - validation may be near
    )
    pairs = splits.leaks(table, found)
    table["split"] = splits.drop(table, pairs)
    return table, splits.audit_rows(table, found, pairs, 0.5, "2018-05-01").set_index("chain")


def test_what_leaks_is_dropped_with_its_cluster_and_no_more(audited):
    table, _ = audited
    dropped, kept = ["p2", "p3", "p4", "p5"], {"p0": "target", "p1": "test", "p6": "train", "p7": "train"}
    assert table["split"].to_dict() == dict.fromkeys(dropped, "dropped") | kept


def test_the_audit_shows_the_nearest_before_and_after(audited):
    _, rows = audited
    assert rows.index.tolist() == ["p0", "p1"]
    test = rows.loc["p1"]
    assert (test["nearest_training"], test["identity"], test["coverage"], test["evalue"]) == ("p3", 0.35, 0.8, 1e-8)
    assert test["dropped_for_it"] == "p2,p3,p4"
    assert (test["nearest_kept"], test["identity_kept"], test["band"]) == ("p6", 0.25, "20-30")
    target = rows.loc["p0"]
    assert target["dropped_for_it"] == "p2,p5"
    assert pd.isna(target["nearest_training"])
    assert (target["band"], target["same_entry"], test["same_entry"]) == ("none", "yes", "no")
    assert rows["date_barrier"].tolist() == ["passed", "passed"]


@pytest.mark.parametrize(
    ("identity", "expected"),
    [(np.nan, "none"), (0.0, "<20"), (0.2, "20-30"), (0.3, "30-50"), (0.5, "30-50"), (0.51, ">50")],
)
def test_bands(identity, expected):
    assert splits.band(identity) == expected


@pytest.mark.parametrize(
    ("dates", "cutoff", "expected"),
    [
        (["2017-01-01", "2018-04-30"], "2018-05-01", "passed"),
        (["2018-05-01", ""], "2018-05-01", "failed"),
        (["2017-01-01", ""], "2018-05-01", "unknown"),
        (["2017-01-01"], "", "unknown"),
    ],
)
def test_date_barrier(dates, cutoff, expected):
    assert splits.date_barrier(dates, cutoff) == expected


def write_inputs(folder, sequences, targets, given=None):
    """A structures file and the two input tables; targets are named after their chain."""
    save_chains(
        folder / "shard.h5",
        [Chain.from_atoms(id, letters, np.ones((len(letters), 5, 3))) for id, letters in sequences.items()],
    )
    chains = [{"chain": id, "split": (given or {}).get(id, "")} for id in sequences if id not in targets]
    tables.write(folder / "chains.tsv", chains, ["chain", "split"])
    tables.write(
        folder / "targets.tsv",
        [{"target": id, "chain": id, "class": "hard"} for id in targets],
        ["target", "chain", "class"],
    )


def build(folder, threads=1):
    splits.build_splits(
        [folder / "shard.h5"],
        *[folder / name for name in ("chains.tsv", "targets.tsv", "assignment.tsv", "audit.tsv")],
        seed=1,
        identity=0.3,
        coverage=0.8,
        fractions=FRACTIONS,
        cutoff_date="",
        leakage=LEAKAGE,
        threads=threads,
    )
    return [tables.read(folder / name).set_index("chain") for name in ("assignment.tsv", "audit.tsv")]


def test_no_chain_at_all_is_told(tmp_path):
    write_inputs(tmp_path, {}, [])
    with pytest.raises(SplitError, match="no chain passed"):
        build(tmp_path)


@pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2")
def test_planted_homologues_are_found_and_dropped(tmp_path):
    random = np.random.default_rng(3)

    def mutated(sequence, identity):
        return "".join(a if random.random() < identity else random.choice(AMINO_ACIDS) for a in sequence)

    with gzip.open(Path(__file__).parents[2] / "resources/demo/pool.fasta.gz", "rt") as handle:
        real = [record.split()[1] for record in handle.read().split(">")[1:]]
    real = [sequence for sequence in real if 100 <= len(sequence) < 130]
    target, test = "1a00_A", "1a01_A"
    sequences = {target: real[0], test: real[-1]}
    for i, sequence in enumerate(real[1:13], start=2):  # strangers: the residues of real chains in another order
        sequences[f"1a{i:02d}_A"] = "".join(random.permutation(list(sequence)))
    planted = {
        "2dis_A": mutated(sequences[target], 0.42),  # about 45 % identity
        "2frg_A": sequences[target][20:55],  # a fragment, too short for its cluster
        "2val_A": sequences[target][40:85],
        "2tst_A": mutated(sequences[test], 0.42),
    }
    given = {"2val_A": "validation", test: "test", "2frg_A": "train"}
    write_inputs(tmp_path, sequences | planted, [target], given)
    assignment, audit = build(tmp_path)
    assert assignment.loc[["2dis_A", "2frg_A", "2val_A"], "split"].tolist() == ["dropped"] * 3
    assert assignment.loc["2tst_A", "split"] != "train"
    assert {"2dis_A", "2frg_A", "2val_A"} <= set(audit.loc[target, "dropped_for_it"].split(","))
    assert audit.loc[target, "nearest_training"] in ("2dis_A", "2frg_A")
    assert audit.loc[target, "band"] != ">50"
    again = [(tmp_path / name).read_bytes() for name in ("assignment.tsv", "audit.tsv")]
    build(tmp_path, threads=2)
    assert [(tmp_path / name).read_bytes() for name in ("assignment.tsv", "audit.tsv")] == again

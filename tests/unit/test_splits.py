import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardfold import inputs, splits
from hardfold.splits import SplitError
from hardfold.structure.chain import Chain, save_chains

FRACTIONS = {"validation": 0.15, "test": 0.25}


def proteins(**columns):
    """A table of proteins p0, p1 ...; each an entry of its own and given no split unless said."""
    rows = len(next(iter(columns.values())))
    table = pd.DataFrame(columns, index=[f"p{i}" for i in range(rows)])
    for column, values in {"entry": [f"e{i}" for i in range(rows)], "given": ""}.items():
        table[column] = columns.get(column, values)
    return table


def test_chains_are_linked_by_clusters_and_entries():
    ids = ["1aaa_A", "1aaa_B", "1bbb_A", "1bbb_B", "1ccc_A"]
    clusters = pd.Series(["x", "y", "y", "z", "w"], index=ids)
    groups = splits.link(clusters, pd.Series([id[:4] for id in ids], index=ids))
    assert groups.to_dict() == dict.fromkeys(ids[:4], "1aaa_A") | {"1ccc_A": "1ccc_A"}


@pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2")
def test_equal_sequences_are_of_one_cluster_whatever_their_complexity():
    sequences = {"a": "Q" * 60, "b": "GS" * 23, "c": "Q" * 60, "d": "GS" * 23, "e": "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"}
    clusters = splits.mmseqs.cluster(sequences, identity=0.3, coverage=0.8, threads=1)
    assert clusters.to_dict() == {"a": "a", "b": "b", "c": "a", "d": "b", "e": "e"}


def test_whole_clusters_fill_the_fractions():
    table = proteins(cluster=[f"c{i // 2}" for i in range(100)])
    split = splits.assign(table, FRACTIONS, seed=1)
    assert split.groupby(table["cluster"]).nunique().max() == 1
    assert split.value_counts().to_dict() == {"train": 60, "test": 24, "validation": 16}
    assert not split.equals(splits.assign(table, FRACTIONS, seed=2))


def test_a_seed_means_the_same_split_on_every_machine():
    table = proteins(cluster=list("abbcdefghi"))
    split = splits.assign(table, FRACTIONS, seed=7)
    names = {"train": ["p0", "p3", "p5", "p6", "p7", "p9"], "validation": ["p4", "p8"], "test": ["p1", "p2"]}
    assert {name: ids.tolist() for name, ids in split.groupby(split).groups.items()} == names


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.booleans()), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
def test_no_cluster_and_no_entry_ever_crosses_a_split(rows, random):
    table = proteins(
        cluster=[f"c{cluster}" for cluster, _, _ in rows],
        entry=[f"e{entry}" for _, entry, _ in rows],
        given=["target" if target else "" for _, _, target in rows],
    )
    split = splits.assign(table, FRACTIONS, seed=1)
    assert (split == "target").tolist() == [target for _, _, target in rows]
    # What stands beside a target is proposed for training, where the audit drops it; the rest stays whole.
    targets = table[split == "target"]
    beside = table["cluster"].isin(targets["cluster"]) | table["entry"].isin(targets["entry"])
    assert (split[beside & (split != "target")] == "train").all()
    for column in ("cluster", "entry"):
        assert (split[~beside].groupby(table[column]).nunique() == 1).all()
    order = list(table.index)
    random.shuffle(order)
    assert splits.assign(table.loc[order], FRACTIONS, seed=1).sort_index().equals(split.sort_index())


def test_given_splits_hold_for_their_cluster_and_count():
    table = proteins(given=["test", "", "", "", "", ""], cluster=["a", "a", "b", "c", "d", "e"])
    split = splits.assign(table, {"validation": 1 / 6, "test": 2 / 6}, seed=1)
    assert split[["p0", "p1"]].tolist() == ["test", "test"]
    assert split.value_counts().to_dict() == {"train": 3, "test": 2, "validation": 1}


def test_contradicting_given_splits_are_refused_by_name():
    table = proteins(given=["test", "train", ""], cluster=["a", "b", "c"], entry=["1aaa", "1aaa", "1bbb"])
    with pytest.raises(SplitError, match=r"p0 \(test\), p1 \(train\) are linked"):
        splits.assign(table, FRACTIONS, seed=1)


def test_chains_beside_a_target_are_proposed_for_training_and_count_for_nothing():
    table = proteins(
        given=["target", *[""] * 13],
        cluster=["a", "a", "a", "x", *(f"c{i}" for i in range(10))],
        entry=["1aaa", "2aaa", "3aaa", "1aaa", "2aaa", *(f"e{i}" for i in range(9))],
    )
    split = splits.assign(table, {"validation": 0.3, "test": 0.3}, seed=1)
    assert split[:4].tolist() == ["target", "train", "train", "train"]
    # p4 is of the entry of p1, which leaves: nothing links it to the target.
    assert split[4:].value_counts().to_dict() == {"train": 4, "validation": 3, "test": 3}


def test_a_target_of_unknown_entry_links_nothing():
    table = proteins(given=["target", "", ""], cluster=["a", "b", "c"], entry=["", "1aaa", "2aaa"])
    split = splits.assign(table, {"validation": 0.4, "test": 0.5}, seed=1)
    assert sorted(split[1:]) == ["test", "validation"]


def save(path, sequences, **source):
    coordinates = {id: np.ones((len(letters), 5, 3)) for id, letters in sequences.items()}
    save_chains(path, [Chain.from_atoms(id, sequences[id], coordinates[id], **source) for id in sequences])


def test_entries_splits_and_dates_are_looked_up(tmp_path):
    save(tmp_path / "chains.h5", {"1abc_A": "ACD", "2abc_A": "ACD", "2abc_B": "ACE"}, release_date="2001-01-01")
    save(tmp_path / "targets.h5", {"T1": "ACF", "T2": "ACG"})
    chains = pd.DataFrame({"chain": ["1abc_A", "2abc", "3abc"], "split": ["test", "train", ""]})
    targets = pd.DataFrame(
        {"target": ["T1", "T2", "T3"], "entry": ["9abc", "", "8abc"], "release_date": ["2020-02-02", "", ""]}
    )
    table = splits.read_proteins([tmp_path / "targets.h5", tmp_path / "chains.h5"], chains, targets)
    assert table.to_dict("index") == {
        "1abc_A": {"sequence": "ACD", "release_date": "2001-01-01", "entry": "1abc", "given": "test"},
        "2abc_A": {"sequence": "ACD", "release_date": "2001-01-01", "entry": "2abc", "given": "train"},
        "2abc_B": {"sequence": "ACE", "release_date": "2001-01-01", "entry": "2abc", "given": "train"},
        "T1": {"sequence": "ACF", "release_date": "2020-02-02", "entry": "9abc", "given": "target"},
        "T2": {"sequence": "ACG", "release_date": "", "entry": "", "given": "target"},
    }


def test_sequences_are_read_without_coordinates(tmp_path):
    save(tmp_path / "chains.h5", {"1abc_A": "ACD"})
    # A file whose coordinates are gone is as good: nothing but the sequences is touched.
    with h5py.File(tmp_path / "chains.h5", "a") as file:
        del file["chains/1abc_A/coordinates"], file["chains/1abc_A/mask"]
    chains = pd.DataFrame({"chain": ["1abc_A"], "split": [""]})
    targets = pd.DataFrame(columns=["target", "entry", "release_date"])
    assert splits.read_proteins([tmp_path / "chains.h5"], chains, targets)["sequence"].tolist() == ["ACD"]


def test_a_chain_that_nobody_asked_for_is_refused(tmp_path):
    save(tmp_path / "chains.h5", {"1abc_A": "ACD", "2abc_A": "ACD"})
    (tmp_path / "targets.tsv").write_text("target\tchain\tclass\n")
    lists = inputs.read_inputs(["1abc"], tmp_path / "targets.tsv")
    with pytest.raises(SplitError, match="2abc_A: in no list of chains and no target"):
        splits.read_proteins([tmp_path / "chains.h5"], *lists)


def test_no_chain_at_all_is_told(tmp_path):
    save(tmp_path / "chains.h5", {})
    with pytest.raises(SplitError, match="no chain passed"):
        splits.read_proteins([tmp_path / "chains.h5"], pd.DataFrame(), pd.DataFrame())


def test_too_few_clusters_are_told(tmp_path, monkeypatch):
    save(tmp_path / "chains.h5", {"1abc_A": "ACD", "2abc_A": "ACD"})
    (tmp_path / "targets.tsv").write_text("target\tchain\tclass\n")
    monkeypatch.setattr(splits.mmseqs, "cluster", lambda sequences, *_, **__: pd.Series("1abc_A", sequences.index))
    with pytest.raises(SplitError, match="no chain for validation and test: there are too few clusters"):
        splits.build_splits(
            [tmp_path / "chains.h5"],
            ["1abc_A", "2abc_A"],
            tmp_path / "targets.tsv",
            *[tmp_path / name for name in ("assignment.tsv", "audit.tsv", "dropped.tsv")],
            seed=1,
            identity=0.3,
            coverage=0.8,
            fractions=FRACTIONS,
            cutoff_date="",
            limits={},
            threads=1,
        )

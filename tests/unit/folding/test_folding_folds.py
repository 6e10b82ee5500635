import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from hardfold import tables
from hardfold.dataset import Dataset
from hardfold.folding import swapped
from hardfold.folding.alignment import read_donors
from hardfold.folding.folds import COLUMNS, FoldError, assign_folds, build_folds, find_relatives
from hardfold.folding.predict import _parts
from hardfold.folding.shuffled import ShuffleError
from hardfold.folding.swapped import swap_alignments
from hardfold.structure.chain import Chain, save_chains

LIMITS = {"identity": 0.3, "coverage": 0.5, "evalue": 1e-3, "sensitivity": 7.5, "profile_iterations": 3}
NO_PAIRS = pd.DataFrame(columns=["query", "subject", "relation"])
needs_mmseqs = pytest.mark.skipif(not shutil.which("mmseqs"), reason="MMseqs2 is not installed")


def targets(*names):
    return pd.DataFrame({"class": "hard"}, index=list(names))


def pairs(*rows):
    return pd.DataFrame(rows, columns=["query", "subject", "relation"])


def test_linked_targets_share_a_fold_through_others():
    names = [f"T{number}" for number in range(12)]
    rows = assign_folds(targets(*names), pairs(("T0", "T5", "near"), ("T9", "T5", "of one entry with")), 3, 1)
    fold = rows.set_index("target")["fold"]
    assert fold["T0"] == fold["T5"] == fold["T9"]
    assert rows["fold"].value_counts().to_dict() == {1: 4, 2: 4, 3: 4}
    assert set(rows.set_index("target")["group"][["T0", "T5", "T9"]]) == {"T0"}
    assert rows.set_index("target")["related_to"].to_dict() == {
        **dict.fromkeys(names, ""),
        "T0": "near T5",
        "T9": "of one entry with T5",
    }


def test_the_seed_decides_the_folds_alone():
    names = [f"T{number}" for number in range(20)]
    first = assign_folds(targets(*names), NO_PAIRS, 4, 1)
    pd.testing.assert_frame_equal(first, assign_folds(targets(*names), NO_PAIRS, 4, 1))
    assert (first["fold"] != assign_folds(targets(*names), NO_PAIRS, 4, 2)["fold"]).any()


def test_fewer_groups_than_folds_are_refused():
    with pytest.raises(FoldError, match=r"folding.leave_one_out.folds: 3, but the 3 targets are of 2 groups"):
        assign_folds(targets("T0", "T1", "T2"), pairs(("T0", "T1", "near")), 3, 1)


def letters(length, seed):
    return "".join(np.random.default_rng(seed).choice(list("ACDEFGHIKLMNPQRSTVWY"), length))


def mutated(sequence, share, seed):
    generator = np.random.default_rng(seed)
    return "".join(letters(1, generator.integers(9**9)) if generator.random() < share else one for one in sequence)


@pytest.fixture
def proteins():
    """Six targets, of which T0 and T1 are homologous, T2 and T3 of one entry, T4 and T5 of one cluster; and a chain."""
    sequences = {f"T{number}": letters(120, number) for number in range(6)}
    sequences["T1"] = mutated(sequences["T0"], 0.4, 7)
    table = pd.DataFrame({"sequence": {**sequences, "1abc_A": letters(120, 8)}})
    table["entry"] = ["", "", "1xyz", "1xyz", "", "", "1abc"]
    table["cluster"] = ["T0", "T1", "T2", "T3", "T4", "T4", "1abc_A"]
    return table


@needs_mmseqs
def test_relatives_are_found_by_sequence_entry_and_cluster(proteins):
    chosen = proteins.index.to_series().str.startswith("T")
    found = find_relatives(proteins, chosen, LIMITS, 1)
    assert {(frozenset(pair[:2]), pair[2]) for pair in found.to_numpy().tolist()} == {
        (frozenset({"T0", "T1"}), "near"),
        (frozenset({"T2", "T3"}), "of one entry with"),
        (frozenset({"T4", "T5"}), "in one cluster with"),
    }


@needs_mmseqs
def test_subunits_of_a_casp_complex_share_a_fold(proteins):
    named = proteins.rename({"T0": "T0953s1", "T1": "T0953s2", "T2": "T0957s1", "T3": "T0957", "T4": "T1047s1"})
    named = named.assign(sequence=[letters(120, seed) for seed in range(20, 27)], entry="", cluster=named.index)
    found = find_relatives(named, named.index.to_series().str.startswith("T"), LIMITS, 1)
    assert {(frozenset(pair[:2]), pair[2]) for pair in found.to_numpy().tolist()} == {
        (frozenset({"T0953s1", "T0953s2"}), "of one complex with")
    }


def written(proteins, folder):
    """The inputs of build_folds and swap_alignments: a shard, the lists of chains and targets, the assignment."""
    write = {"msa": np.zeros((1, 120), np.uint8), "contact_map": np.zeros((1, 1)), "distance_map": np.zeros((1, 1))}
    chains = [Chain.from_atoms(id, row["sequence"], np.ones((120, 5, 3))) for id, row in proteins.iterrows()]
    save_chains(folder / "shard.h5", chains)
    with h5py.File(folder / "shard.h5", "a") as file:
        file.attrs["format_version"] = "1"
        for group in file["chains"].values():
            for name, values in (write | {"angle_map": np.zeros((1, 1))}).items():
                group[name] = values
    tables.write(folder / "chains.tsv", [{"chain": "1abc_A"}], ["chain"])
    rows = [
        {"target": id, "chain": "", "class": "hard" if id < "T4" else "easy", "entry": row["entry"]}
        for id, row in proteins.drop("1abc_A").iterrows()
    ]
    tables.write(folder / "targets.tsv", rows, ["target", "chain", "class", "entry"])
    split = ["target"] * len(rows) + ["train"]
    assignment = proteins.assign(split=split).reset_index(names="chain")
    tables.write(folder / "assignment.tsv", assignment, ["chain", "cluster", "split"])
    return [folder / "shard.h5"], *(str(folder / f"{name}.tsv") for name in ("chains", "targets", "assignment"))


@needs_mmseqs
def test_each_fold_is_trained_on_the_targets_outside_of_it(proteins, tmp_path):
    places = written(proteins, tmp_path)
    outputs = [tmp_path / f"fold{fold}/train.h5" for fold in (1, 2)]
    for classes, expected in (([], {f"T{number}" for number in range(6)}), (["hard"], {"T0", "T1", "T2", "T3"})):
        build_folds(
            *places,
            tmp_path / "shard.h5",
            tmp_path / "folds.tsv",
            outputs,
            classes=classes,
            limits=LIMITS,
            seed=1,
            threads=1,
        )
        folds = tables.read(tmp_path / "folds.tsv", COLUMNS, key="target").set_index("target")["fold"]
        assert set(folds.index) == expected
        assert folds["T0"] == folds["T1"] and folds["T2"] == folds["T3"]
        for fold, output in enumerate(outputs, start=1):
            trained = Dataset(output)
            assert set(trained.ids) == set(folds.index[folds != str(fold)])
            assert all(record.sequence == proteins.loc[record.id, "sequence"] for record in trained)
    # Each target is predicted by the adapter of its own fold, which saw all folds but that one.
    parts = dict(_parts([], ["one", "two"], tmp_path / "folds.tsv"))
    assert {target: adapter for adapter, ids in parts.items() for target in ids} == {
        target: ["one", "two"][int(fold) - 1] for target, fold in folds.items()
    }


def test_without_folds_an_adapter_predicts_every_target():
    assert _parts(["T0", "T1"], ["one"], None) == [("one", ["T0", "T1"])]
    assert _parts(["T0", "T1"], [], None) == [(None, ["T0", "T1"])]


SEEDS = list(range(1, 9))


@needs_mmseqs
def test_no_target_is_given_the_alignment_of_a_relative(proteins, tmp_path):
    places, output = written(proteins, tmp_path), tmp_path / "donors.tsv"
    swap_alignments(*places, output, limits=LIMITS, seeds=SEEDS, threads=1)
    table = tables.read(output, swapped.COLUMNS)
    group = table.drop_duplicates("target").set_index("target")["group"].to_dict()
    assert group == {"T0": "T0", "T1": "T0", "T2": "T2", "T3": "T2", "T4": "T4", "T5": "T4"}
    assert (table["group"] != table["donor"].map(group)).all()
    assert set(table["related_to"]) > {"of one entry with T2", "in one cluster with T4"}
    donors = [read_donors(output, seed) for seed in SEEDS]
    assert all(sorted(given) == sorted(given.values()) == [f"T{number}" for number in range(6)] for given in donors)
    assert any(given != donors[0] for given in donors)


@needs_mmseqs
def test_targets_that_are_all_relatives_cannot_be_given_others_alignments(proteins, tmp_path):
    places = written(proteins.drop(["T2", "T3", "T4", "T5"]), tmp_path)
    with pytest.raises(
        ShuffleError, match="control_swapped_alignment: no unrelated donor is left for T0, T1; take the"
    ):
        swap_alignments(*places, tmp_path / "donors.tsv", limits=LIMITS, seeds=SEEDS, threads=1)
    assert not (tmp_path / "donors.tsv").exists()

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardfold import leakage, splits, tables
from hardfold.structure.chain import Chain, save_chains

LIMITS = {"identity": 0.3, "coverage": 0.5, "evalue": 1e-3, "sensitivity": 7.5, "profile_iterations": 3}
CUTOFF = "2018-05-01"
SEED = 1


def proteins(**columns):
    return pd.DataFrame(columns, index=[f"p{i}" for i in range(len(next(iter(columns.values()))))])


def hits(*rows):
    """(query, subject, identity, coverage, evalue, leak) rows."""
    table = pd.DataFrame(rows, columns=["query", "subject", "identity", "coverage", "evalue", "leak"])
    return table.astype({"leak": bool})


@pytest.fixture
def audited():
    """p0 target, p1 test, p2 validation, p9 a target of unknown entry; p3 and p4 one training cluster, p5 in the first
    target's cluster, p8 of its entry, p6 and p7 far, p10 validation and p11 training that are too new.
    """
    split = ["target", "test", "validation", *["train"] * 6, "target", "validation", "train"]
    table = proteins(
        proposed=split,
        cluster=["a", "b", "c", "d", "d", "a", "e", "f", "g", "h", "i", "j"],
        entry=["1aaa", "2aaa", "3aaa", "4aaa", "5aaa", "6aaa", "7aaa", "8aaa", "1aaa", "", "9aaa", "9bbb"],
        release_date=["2020-01-01", "", "", *["2010-01-01"] * 6, "", "2018-05-01", "2020-01-01"],
    )
    found = hits(
        ("p0", "p2", 0.4, 0.9, 1e-9, True),  # target - validation: the validation chain goes
        ("p1", "p3", 0.35, 0.8, 1e-8, True),  # test - training: its cluster goes
        ("p9", "p3", 0.31, 0.8, 1e-4, True),  # and again
        ("p1", "p6", 0.25, 0.7, 0.5, False),  # stays, the nearest kept
        ("p2", "p6", 0.5, 0.8, 1e-6, True),  # from a validation chain that goes itself: p6 stays
        ("p10", "p7", 0.5, 0.8, 1e-6, True),  # from one that is too new
        ("p1", "p2", 0.9, 0.9, 1e-30, True),  # test - validation
    )
    pairs = leakage.leaks(table, found)
    table["split"] = leakage.drop(table, pairs, CUTOFF)
    return table, found, pairs


def test_what_leaks_or_is_too_new_is_dropped_with_its_cluster_and_no_more(audited):
    table, _, _ = audited
    kept = {"p0": "target", "p1": "test", "p6": "train", "p7": "train", "p9": "target"}
    assert table["split"].to_dict() == dict.fromkeys(["p2", "p3", "p4", "p5", "p8", "p10", "p11"], "dropped") | kept


def test_every_dropped_chain_has_its_reason(audited):
    table, _, pairs = audited
    rows = leakage.dropped_rows(table, pairs, CUTOFF).set_index("chain")
    assert rows["proposed"].to_dict() == table["proposed"][table["split"] == "dropped"].to_dict()
    assert rows["reason"].to_dict() == {
        "p2": "near p1 and 1 more",
        "p3": "near p1 and 1 more",
        "p4": "in a cluster near p1 and 1 more",
        "p5": "in one cluster with p0",
        "p8": "of one entry with p0",
        "p10": "released 2018-05-01, cut-off 2018-05-01",
        "p11": "released 2020-01-01, cut-off 2018-05-01",
    }


def test_both_reasons_stand_where_both_hold():
    table = proteins(proposed=["target", "train"], cluster=["a", "a"], entry=["1aaa", "2aaa"])
    table["release_date"] = "2019-01-01"
    pairs = leakage.leaks(table, hits())
    table["split"] = leakage.drop(table, pairs, CUTOFF)
    (reason,) = leakage.dropped_rows(table, pairs, CUTOFF)["reason"]
    assert reason == "released 2019-01-01, cut-off 2018-05-01; in one cluster with p0"


def test_nothing_near_means_nothing_dropped(tmp_path):
    table = proteins(proposed=["target", "train"], cluster=["a", "b"], entry=["1aaa", "2aaa"], release_date=["", ""])
    pairs = leakage.leaks(table, hits())
    table["split"] = leakage.drop(table, pairs, CUTOFF)
    assert table["split"].tolist() == ["target", "train"]
    tables.write(tmp_path / "dropped.tsv", leakage.dropped_rows(table, pairs, CUTOFF), leakage.DROPPED_COLUMNS)
    assert (tmp_path / "dropped.tsv").read_text() == "chain\tproposed\treason\n"
    (row,) = leakage.audit_rows(table, hits(), pairs, CUTOFF)[leakage.AUDIT_COLUMNS].fillna("").to_dict("records")
    assert (row["chain"], row["nearest_training"], row["dropped_for_it"], row["band"]) == ("p0", "", "", "none")
    assert row["date_barrier"] == "unknown"


def test_without_a_cutoff_nothing_is_too_new(audited):
    table, _, pairs = audited
    assert leakage.drop(table, pairs, "")[["p10", "p11"]].tolist() == ["validation", "train"]


def test_the_audit_shows_the_nearest_before_and_after(audited):
    table, found, pairs = audited
    rows = leakage.audit_rows(table, found, pairs, CUTOFF).set_index("chain")
    assert rows.index.tolist() == ["p0", "p1", "p9"]
    test = rows.loc["p1"]
    assert (test["nearest_training"], test["identity"], test["coverage"], test["evalue"]) == ("p3", 0.35, 0.8, 1e-8)
    assert test["dropped_for_it"] == "p2,p3,p4"
    assert (test["nearest_kept"], test["identity_kept"], test["band"]) == ("p6", 0.25, "20-30")
    target = rows.loc["p0"]
    assert target["dropped_for_it"] == "p2,p5,p8"
    assert pd.isna(target["nearest_training"]) and target["band"] == "none"
    assert rows["same_entry"].to_dict() == {"p0": "yes", "p1": "no", "p9": ""}
    assert rows["release_date"].tolist() == ["2020-01-01", "", ""]
    assert rows["date_barrier"].tolist() == ["passed"] * 3


@pytest.mark.parametrize(
    ("identity", "expected"),
    [(np.nan, "none"), (0.0, "<20"), (0.2, "20-30"), (0.3, "30-50"), (0.5, "30-50"), (0.51, ">50")],
)
def test_bands(identity, expected):
    assert leakage.band(identity) == expected


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
    assert leakage.date_barrier(dates, cutoff) == expected


# Planted homologues

LETTERS = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


def planted(seed=SEED):
    """Id -> sequence, and the reason for which each planted chain must go."""
    random = np.random.default_rng(seed)

    def stranger(length=150):
        return "".join(random.choice(LETTERS, length))

    def mutated(sequence, identity, keep=()):
        """With this share of its residues and those at the positions `keep`; every other one is another."""
        kept = {*keep, *random.permutation(len(sequence))[: round(identity * len(sequence))]}
        return "".join(
            letter if i in kept else random.choice(LETTERS[letter != LETTERS]) for i, letter in enumerate(sequence)
        )

    target, test, validation, far = stranger(), stranger(), stranger(), stranger(200)
    motif = random.permutation(200)[:80]  # what a family has in common with `far`
    repeats = "".join(random.choice(list("AHEK"), 90))
    sequences = {"T1": target, "T2": far, "T3": repeats, "1tst_A": test, "1val_A": validation}
    # Six of its family, found by sequence, make the profile that finds the remote one.
    sequences |= {f"1fa{i}_A": mutated(far, 0, motif) for i in range(6)}
    due = {
        "2sam_A": (mutated(target, 0.95), "near T1"),
        "2hom_A": (mutated(target, 0.35), "near T1"),
        "9ent_B": (stranger(), "of one entry with T1"),
        "2rem_A": (mutated(far, 0, motif[:40]), "near T2"),
        "2low_A": (repeats, "near T3"),
        # With a domain of their own: too long for the cluster of what they resemble.
        "2tst_A": (mutated(test, 0.35) + stranger(80), "near 1tst_A"),
        "2val_A": (mutated(validation, 0.4) + stranger(80), "near 1val_A"),
        # Swapped domains: the shorter one is the same and hides 100 residues of the longer one at 40 %.
        "2dom_A": (mutated(test[50:], 0.4) + test[:40], "near 1tst_A"),
        "2new_A": (stranger(), "released 2019-01-01, cut-off 2018-05-01"),
    }
    sequences |= {id: sequence for id, (sequence, _) in due.items()}
    sequences |= {f"3st{i}_A": stranger() for i in range(8)}
    sequences["3sh0_A"] = "".join(random.permutation(list(target)))
    return sequences, {id: reason for id, (_, reason) in due.items()}


def build(folder, shards, threads):
    names = ("assignment", "audit", "dropped")
    splits.build_splits(
        [folder / shard for shard in shards],
        *[folder / f"{name}.tsv" for name in ("chains", "targets", *names)],
        seed=1,
        identity=0.3,
        coverage=0.8,
        fractions={"validation": 0.1, "test": 0.1},
        cutoff_date=CUTOFF,
        limits=LIMITS,
        threads=threads,
    )
    return {name: (folder / f"{name}.tsv").read_bytes() for name in names}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Tables of a run on planted homologues, their folder and the reasons expected."""
    folder = tmp_path_factory.mktemp("splits")
    sequences, reasons = planted()
    dates = {"2new_A": "2019-01-01"}
    chains = [
        Chain.from_atoms(id, letters, np.ones((len(letters), 5, 3)), release_date=dates.get(id, "2010-01-01"))
        for id, letters in sequences.items()
    ]
    for shard in range(3):
        save_chains(folder / f"{shard}.h5", chains[shard::3])
    given = {"1tst": "test", "1val_A": "validation"} | {f"{id[:4]}": "train" for id in sequences if id[0] in "23"}
    given |= {f"1fa{i}": "train" for i in range(6)} | {"9ent_B": ""}
    tables.write(
        folder / "chains.tsv", [{"chain": id, "split": split} for id, split in given.items()], ["chain", "split"]
    )
    targets = [("T1", "9ent"), ("T2", "9far"), ("T3", "")]
    rows = [{"target": target, "chain": "", "entry": entry, "class": "FM"} for target, entry in targets]
    tables.write(folder / "targets.tsv", rows, ["target", "chain", "entry", "class"])
    build(folder, ["0.h5", "1.h5", "2.h5"], threads=1)
    return folder, sequences, reasons


needs_mmseqs = pytest.mark.skipif(not shutil.which("mmseqs"), reason="needs MMseqs2")


def read(built, name):
    return tables.read(built[0] / f"{name}.tsv", key="chain").set_index("chain")


@needs_mmseqs
def test_each_planted_homologue_is_dropped_with_its_reason(built):
    dropped = read(built, "dropped")
    reasons = built[2]
    assert {id: dropped["reason"].get(id, "stays") for id in reasons} == reasons
    # The family of the second target goes, and nothing else.
    assert set(dropped.index) - set(reasons) == {f"1fa{i}_A" for i in range(6)}
    assert set(dropped.index) == set(read(built, "assignment").query("split == 'dropped'").index)


@needs_mmseqs
def test_unrelated_chains_stay(built):
    split = read(built, "assignment")["split"]
    assert (split[[id for id in split.index if id.startswith("3")]] == "train").all()
    assert split[["T1", "T2", "T3", "1tst_A", "1val_A"]].tolist() == [*["target"] * 3, "test", "validation"]


@needs_mmseqs
def test_the_audit_finds_each_planted_homologue(built):
    audit = read(built, "audit")
    assert audit["nearest_training"].to_dict() | {"T2": ""} == {
        "1tst_A": "2tst_A", "1val_A": "2val_A", "T1": "2sam_A", "T2": "", "T3": "2low_A",
    }  # fmt: skip
    assert set(audit.loc["T1", "dropped_for_it"].split(",")) == {"2sam_A", "2hom_A", "9ent_B"}
    assert set(audit.loc["T2", "dropped_for_it"].split(",")) == {"2rem_A", *(f"1fa{i}_A" for i in range(6))}
    assert audit["same_entry"].to_dict() == {"1tst_A": "no", "1val_A": "no", "T1": "yes", "T2": "no", "T3": ""}
    assert not set(audit["band"]) & {"30-50", ">50"}
    assert (audit["date_barrier"] == "passed").all()


@needs_mmseqs
def test_the_remote_homologue_is_found_through_its_family_alone(built):
    sequences = pd.Series({id: built[1][id] for id in ("2rem_A", "3sh0_A", "3st0_A", "T2")})
    split = pd.Series("train", sequences.index).where(sequences.index != "T2", "target")
    assert not leakage.find_hits(sequences, split, LIMITS, threads=1)["leak"].any()


@needs_mmseqs
def test_the_tables_depend_on_no_order_and_no_thread_count(built):
    before = {name: (built[0] / f"{name}.tsv").read_bytes() for name in ("assignment", "audit", "dropped")}
    assert build(built[0], ["2.h5", "0.h5", "1.h5"], threads=2) == before


def search_planted(query, others):
    """The hits of the target `query` among its planted copies and strangers, by subject."""
    sequences = pd.Series({"T1": query, **others}).sort_index()
    split = pd.Series("train", sequences.index).where(sequences.index != "T1", "target")
    return leakage.find_hits(sequences, split, LIMITS, threads=1).set_index("subject")


@needs_mmseqs
@pytest.mark.parametrize("repeats", ["Q" * 60, "GS" * 15 + "H" * 20 + "GSGSGS"])
def test_near_copies_of_low_complexity_leak(repeats):
    random = np.random.default_rng(SEED)
    other, stranger = ("".join(random.choice(LETTERS, length)) for length in (60, 120))
    # Neither whole within the other, so that only the search can tell.
    hits = search_planted(repeats + "W", {"1cop_A": repeats + other, "1str_A": stranger})
    assert hits.index[hits["leak"]].tolist() == ["1cop_A"]
    assert hits.loc["1cop_A", "identity"] >= 0.9


@needs_mmseqs
def test_strangers_of_one_biased_composition_stay():
    random = np.random.default_rng(SEED)
    query, *others = ("".join(random.choice(list("EKAL"), 90)) for _ in range(6))
    assert not search_planted(query, {f"1st{i}_A": letters for i, letters in enumerate(others)})["leak"].any()


def test_equal_and_contained_sequences_leak_where_no_search_finds_them(monkeypatch):
    columns = ["query", "subject", "identity", "coverage", "evalue"]
    monkeypatch.setattr(
        leakage.mmseqs, "search", lambda *_, **__: pd.DataFrame(columns=columns).astype({"evalue": float})
    )
    sequences = pd.Series({"T1": "QQQQA", "a": "QQQQA", "b": "WQQQQAW", "c": "QQQQ", "d": "QQQW", "e": "AQQQQ"})
    split = pd.Series(["target", *["train"] * 5], sequences.index)
    found = leakage.find_hits(sequences, split, LIMITS, threads=1)
    assert found[["query", "subject", "leak"]].values.tolist() == [["T1", other, True] for other in "abc"]
    table = pd.DataFrame({"proposed": split, "cluster": sequences.index, "entry": "", "release_date": ""})
    pairs = leakage.leaks(table, found)
    table["split"] = leakage.drop(table, pairs, "")
    assert table.index[table["split"] == "dropped"].tolist() == ["a", "b", "c"]
    (row,) = leakage.audit_rows(table, found, pairs, "").to_dict("records")
    assert (row["nearest_training"], row["identity"], row["dropped_for_it"]) == ("a", 1.0, "a,b,c")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("AQ", min_size=1, max_size=6), min_size=1, max_size=8))
def test_contained_sequences_are_those_python_finds(letters):
    found = leakage.contained(pd.Series(letters))
    expected = [(i, j) for i, a in enumerate(letters) for j, b in enumerate(letters) if i != j and a in b]
    assert list(found.itertuples(index=False, name=None)) == expected

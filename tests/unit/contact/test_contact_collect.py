"""The tables of the contact track, from metrics.json files that are made up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from hardfold import contacts, statistics
from hardfold.config import resolve_experiments
from hardfold.contact.collect import COMPARED, adjusted, average, collect_experiments, compare, questions
from hardfold.contact.keys import BASELINES
from hardfold.contact.score import METRICS, summarise

ROOT = Path(__file__).parents[3]
CONTRACT = ["roc_auc", "pr_auc", "base_rate", "precision", "recall", "f1", "threshold", *contacts.PRECISION_KEYS]
CONTRACT += ["distance_mae", "angle_mae"]
SIZES = {"exp1": 5, "exp2": 6, "exp3": 7, "exp4": 7, "exp5": 8, "exp6": 20, "exp7": 9}
DRAWN = {"resamples": 400, "seed": 1}


def embedded():
    return resolve_experiments(yaml.safe_load((ROOT / "config/config.yaml").read_text()))


def test_the_questions_of_the_embedded_experiments():
    assert list(questions(embedded(), SIZES)) == [
        ("alignment", "exp2", "exp1"),
        ("auxiliary_tasks", "exp3", "exp2"),
        ("losses", "exp4", "exp3"),
        ("losses", "exp5", "exp3"),
        ("losses", "exp5", "exp4"),
        ("size", "exp6", "exp5"),
        ("couplings", "exp7", "exp5"),
    ]


def asked(one, other, sizes=(1, 1)):
    base = embedded()["exp3"]
    options = {"a": {**base, **one}, "b": {**base, **other}}
    return list(questions(options, dict(zip(options, sizes, strict=True))))


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({}, {"use_msa": False}, [("alignment", "a", "b")]),
        # Of what is off nothing counts, of what is on in one of them everything.
        (
            {"use_angle": False, "angle_loss_type": "cosine"}, {"use_angle": False, "use_msa": False},
            [("alignment", "a", "b")],
        ),
        ({"use_msa": False, "num_msa_rows": 64}, {}, []),
        ({"learning_rate": 0.5}, {"use_msa": False}, []),
        ({"num_workers": 3}, {"use_msa": False}, [("alignment", "a", "b")]),
        ({"use_distance": False}, {}, [("auxiliary_tasks", "b", "a")]),
        ({"use_distance": False}, {"distance_loss_type": "smooth_l1"}, []),
        ({"use_distance": False}, {"use_angle": False}, []),
        ({"contact_loss_type": "focal", "focal_gamma": 1.0}, {}, [("losses", "b", "a")]),
        ({"distance_loss_type": "cross_entropy", "num_distance_bins": 9}, {}, [("losses", "b", "a")]),
        ({"distance_loss_weight": 0.9}, {}, []),
        ({"use_couplings": True}, {}, [("couplings", "a", "b")]),
        ({"use_couplings": True, "use_msa": False}, {}, []),
        ({"num_layers_to_freeze_esm2": 2}, {}, []),
    ],
)  # fmt: skip
def test_a_question_needs_options_of_one_group_to_differ_alone(one, other, found):
    assert asked(one, other) == found


def test_the_larger_model_comes_first():
    other = {"esm2_name": "esm2_t9_large", "num_layers_to_freeze_esm2": 9}
    assert asked({}, other, (1, 2)) == [("size", "b", "a")] and asked({}, other, (2, 1)) == [("size", "a", "b")]


def frame(**columns):
    """Values by protein with columns (experiment, metric), the same for each metric."""
    size = len(next(iter(columns.values())))
    index = [f"p{number:02d}" for number in range(size)]
    frames = {name: pd.DataFrame(dict.fromkeys(COMPARED, values), index) for name, values in columns.items()}
    return pd.concat({name: values.assign(pairs=100.0) for name, values in frames.items()}, axis=1)


def test_a_comparison_is_over_the_proteins_that_both_have():
    values = frame(a=[0.5, 0.6, np.nan, 0.9], b=[0.4, np.nan, 0.3, 0.7])
    cluster = pd.Series(["x", "y", "z", "x"], values.index)
    row = compare(values, [("losses", "a", "b")], cluster, **DRAWN)[0]
    assert (row["proteins"], row["clusters"], row["metric"]) == (2, 1, "roc_auc")
    assert row["difference"] == pytest.approx(0.15) and row["first_value"] == pytest.approx(0.7)
    assert row["second_value"] == pytest.approx(0.55)
    assert np.isnan(row["low"]) and row["p"] == 1  # one cluster is no sample
    assert compare(values.iloc[[1, 2]], [("losses", "a", "b")], cluster, **DRAWN) == []


def test_a_comparison_is_over_equal_pairs():
    values = frame(a=[0.5, 0.6, 0.9], b=[0.4, 0.2, 0.6])
    values.loc["p01", ("a", "pairs")] = 60  # windows of a saw no more
    cluster = pd.Series(values.index, values.index)
    row = compare(values, [("baseline", "a", "b")], cluster, **DRAWN)[0]
    assert row["proteins"] == 2 and row["difference"] == pytest.approx(0.2)


def test_intervals_and_tests_are_over_clusters():
    generator = np.random.default_rng(0)
    shift = np.repeat(generator.normal(0.05, 0.1, 8), 5)
    values = frame(a=0.5 + shift, b=np.full(40, 0.5))
    clusters = {"single": np.arange(40), "fives": np.arange(40) // 5}
    found = {
        name: compare(values, [("losses", "a", "b")], pd.Series(of, values.index), **DRAWN)[0]
        for name, of in clusters.items()
    }
    width = {name: row["high"] - row["low"] for name, row in found.items()}
    assert width["fives"] > 1.5 * width["single"]
    assert found["fives"]["difference"] == found["single"]["difference"] == pytest.approx(shift.mean())
    assert found["fives"]["p"] == statistics.wilcoxon(shift[::5])[0] > found["single"]["p"]
    assert (found["fives"]["clusters"], found["fives"]["proteins"]) == (8, 40)


def test_p_is_adjusted_over_questions_and_metrics_of_a_split_and_baselines_by_themselves():
    pairs = [("alignment", "a", "b"), ("losses", "b", "c"), ("baseline", "a", "base_rate")]
    given = {
        ("test", "roc_auc"): (0.01, 0.04, 0.001), ("test", "pr_auc"): (0.2, 0.3, 0.03),
        ("target", "roc_auc"): (0.5, 0.02, 0.9),
    }  # fmt: skip
    rows = [
        {"question": question, "first": one, "second": other, "split": split, "metric": metric, "p": p, "clusters": 9}
        for (split, metric), ps in given.items()
        for (question, one, other), p in zip(pairs, ps, strict=True)
    ]
    found = {(row["question"], row["split"], row["metric"]): row["p_holm"] for row in adjusted(rows, pairs)}
    assert found == {
        ("alignment", "test", "roc_auc"): pytest.approx(0.04), ("losses", "test", "roc_auc"): pytest.approx(0.12),
        ("alignment", "test", "pr_auc"): pytest.approx(0.4), ("losses", "test", "pr_auc"): pytest.approx(0.4),
        ("alignment", "target", "roc_auc"): 0.5, ("losses", "target", "roc_auc"): pytest.approx(0.04),
        ("baseline", "test", "roc_auc"): pytest.approx(0.002), ("baseline", "test", "pr_auc"): pytest.approx(0.03),
        ("baseline", "target", "roc_auc"): 0.9,
    }  # fmt: skip
    assert [row["question"] for row in adjusted(rows, pairs)] == ["alignment"] * 3 + ["losses"] * 3 + ["baseline"] * 3


def test_the_least_p_that_so_many_clusters_give_is_that_of_one_direction():
    index = [f"p{number:02d}" for number in range(9)]
    values = frame(a=np.linspace(0.6, 0.7, 9) ** 2, b=np.full(9, 0.1))
    asked = [("losses", "a", "b")]
    rows = [row | {"split": "test"} for row in compare(values, asked, pd.Series(index, index), **DRAWN)]
    assert [row["p_least"] for row in adjusted(rows, asked)] == [row["p_holm"] for row in adjusted(rows, asked)]
    assert adjusted(rows, asked)[0]["p_least"] == 3 * 2 / 2**9
    assert adjusted([row | {"clusters": 2} for row in rows], asked)[0]["p_least"] == 1


def test_nothing_has_no_average():
    assert list(average(frame(a=[0.5]).iloc[:0], pd.Series(dtype=str), **DRAWN)) == []
    (row,) = average(frame(a=[0.5]), pd.Series({"p00": "x"}), **DRAWN)
    assert row["proteins"] == 1 and row["roc_auc"] == 0.5 and np.isnan(row["roc_auc_low"])


PROTEINS = {
    "1abc_A": ("test", "c1", "12.5", ">50"), "2abc_A": ("test", "c1", "11", "none"),
    "3abc_A": ("test", "c3", "300", "none"),
    "T1": ("target", "T1", "1", "none"), "T2": ("target", "T2", "99", "20-30"),
}  # fmt: skip


@pytest.fixture
def collected(tmp_path):
    """Tables of exp2, exp10 (in this order) and the baselines over PROTEINS, or some of them."""

    def run(proteins=PROTEINS, repeat=""):
        experiments = {name: embedded()[like] for name, like in (("exp2", "exp2"), ("exp10", "exp1"))}
        generator, folder = np.random.default_rng(0), tmp_path / f"results{repeat}"
        clusters = {chain: cluster for chain, (_, cluster, _, _) in proteins.items()}
        for name in [*experiments, *BASELINES]:
            (folder / name).mkdir(parents=True)
            result = {"experiment": name, "threshold": 0.3}
            for split in ("test", "target"):
                pairs = {"pairs": 100, "pairs_unseen": 0}
                rows = [
                    {"chain": chain, **pairs, **{key: float(generator.random()) for key in METRICS}}
                    for chain, values in proteins.items() if values[0] == split
                ]  # fmt: skip
                result[split] = {
                    "proteins": len(rows),
                    "by_protein": rows,
                    "metrics": summarise(rows, clusters, 0.3, 100, 1),
                }
            (folder / name / "metrics.json").write_text(json.dumps(result))
        for size, (name, options) in enumerate(experiments.items()):
            (folder / name / "config.json").write_text(json.dumps({"experiment": name, "options": options}))
            (folder / name / "training.json").write_text(
                json.dumps({"experiment": name, "parameters": {"trainable": 1, "total": size}})
            )
        lines = {"assignment": "chain\tcluster\tsplit", "alignments": "chain\tneff", "audit": "chain\tband"}
        for chain, (split, cluster, neff, band) in proteins.items():
            lines["assignment"] += f"\n{chain}\t{cluster}\t{split}"
            lines["alignments"] += f"\n{chain}\t{neff}"
            lines["audit"] += f"\n{chain}\t{band}"
        for name, text in lines.items():
            (folder / f"{name}.tsv").write_text(text + "\n")
        outputs = {name: folder / f"out/{name}.tsv" for name in ("summary", "targets", "comparisons", "bands")}
        collect_experiments(
            metrics=[folder / name / "metrics.json" for name in [*experiments, *BASELINES]],
            configs=[folder / name / "config.json" for name in experiments],
            trainings=[folder / name / "training.json" for name in experiments],
            **{name: folder / f"{name}.tsv" for name in lines}, outputs=outputs, **DRAWN,
        )  # fmt: skip
        return outputs

    return run


def test_summaries_have_the_contracts_columns_and_the_order_of_the_configuration(collected):
    outputs = collected()
    expected = [
        f"{key}{end}" for key in [*CONTRACT, "precision_0.5", "recall_0.5", "f1_0.5"] for end in ("", "_low", "_high")
    ]
    for name, proteins in (("summary", 3), ("targets", 2)):
        table = pd.read_csv(outputs[name], sep="\t")
        assert list(table) == ["experiment", *expected, "proteins"]
        assert table["experiment"].tolist() == ["exp2", "exp10", *BASELINES]
        assert (table["proteins"] == proteins).all() and table["threshold_low"].isna().all()


def test_comparisons_hold_every_question_split_and_metric(collected):
    table = pd.read_csv(collected()["comparisons"], sep="\t")
    pairs = table[["question", "first", "second"]].drop_duplicates().values.tolist()
    assert pairs == [
        ["alignment", "exp2", "exp10"], *(["baseline", one, other] for one in ("exp2", "exp10") for other in BASELINES)
    ]  # fmt: skip
    assert len(table) == len(pairs) * 3 * len(COMPARED)
    sizes = table.groupby("split")[["proteins", "clusters"]].first()
    assert sizes.T.to_dict("list") == {"held_out": [5, 4], "target": [2, 2], "test": [3, 2]}
    assert (table["p_holm"] >= table["p"]).all()
    assert np.allclose(table["first_value"] - table["second_value"], table["difference"], atol=1e-6)


def test_bands_hold_every_predictor_and_only_bands_with_proteins(collected):
    table = pd.read_csv(collected()["bands"], sep="\t")
    assert table["experiment"].drop_duplicates().tolist() == ["exp2", "exp10", *BASELINES]
    one = table[table["experiment"] == "exp2"]
    assert one[["split", "by", "band", "proteins"]].values.tolist() == [
        ["test", "neff", "10-30", 2], ["test", "neff", ">=100", 1],
        ["test", "identity", "none", 2], ["test", "identity", ">50", 1],
        ["target", "neff", "<10", 1], ["target", "neff", "30-100", 1],
        ["target", "identity", "none", 1], ["target", "identity", "20-30", 1],
        ["held_out", "neff", "<10", 1], ["held_out", "neff", "10-30", 2],
        ["held_out", "neff", "30-100", 1], ["held_out", "neff", ">=100", 1],
        ["held_out", "identity", "none", 3], ["held_out", "identity", "20-30", 1], ["held_out", "identity", ">50", 1],
    ]  # fmt: skip
    assert one["roc_auc"].notna().all()
    # 1abc_A and 2abc_A are of one cluster: there is nothing to draw.
    assert one.loc[one["band"] == "10-30", "roc_auc_low"].isna().all()


def test_a_split_without_chains_leaves_rows_of_the_other_alone(collected):
    outputs = collected({chain: values for chain, values in PROTEINS.items() if values[0] == "test"})
    targets = pd.read_csv(outputs["targets"], sep="\t")
    assert (targets["proteins"] == 0).all() and targets["roc_auc"].isna().all()
    for name in ("comparisons", "bands"):
        assert set(pd.read_csv(outputs[name], sep="\t")["split"]) == {"test", "held_out"}


def test_the_tables_are_always_the_same(collected):
    first, second = collected(), collected(repeat="again")
    assert all(first[name].read_bytes() == second[name].read_bytes() for name in first)

import dataclasses

import numpy as np
import pytest

from hardfold.report.answers import (
    HIGHER,
    LOWER,
    UNCLEAR,
    UNKNOWN,
    WORDINGS,
    against_baselines,
    answer,
    contact_statement,
    design_statement,
    judge,
)


def row(**values):
    return {"difference": 0.05, "low": 0.02, "high": 0.08, "p": 0.001, "p_holm": 0.01, "p_least": 0.001} | values


@pytest.mark.parametrize(
    ("values", "judged"),
    [
        ({}, HIGHER),
        ({"low": -0.08, "high": -0.02}, LOWER),
        ({"low": -0.01}, UNCLEAR),
        ({"low": 0.0}, UNCLEAR),
        ({"low": -0.08, "high": 0.0}, UNCLEAR),
        ({"p_holm": 0.05}, UNCLEAR),  # the interval alone is not enough
        ({"p": 0.2, "p_holm": np.nan}, UNCLEAR),
        ({"p": 0.049, "p_holm": np.nan}, HIGHER),  # a baseline's comparison belongs to no family
        ({"low": np.nan, "high": np.nan}, UNKNOWN),
        ({"p": np.nan, "p_holm": np.nan}, UNKNOWN),
        ({"p_holm": 0.3, "p_least": 0.2}, UNKNOWN),  # too few clusters for any p below 0.05
        ({"low": -0.01, "p_least": 0.2}, UNKNOWN),
        ({"p_least": 0.2}, HIGHER),  # more clusters in the other comparisons: Holm's factor is smaller
    ],
)
def test_judged_by_interval_and_adjusted_p(values, judged):
    assert judge(row(**values)) == judged


def with_rows(results, first, second, split="held_out", **by_metric):
    """The results with other values in the comparisons of one pair: metric=values."""
    table = results.comparisons.copy()
    for metric, values in by_metric.items():
        rows = (table["first"] == first) & (table["second"] == second) & (table["metric"] == metric)
        rows &= table["split"] == split
        assert rows.sum() == 1
        table.loc[rows, list(values)] = list(values.values())
    return dataclasses.replace(results, comparisons=table)


UP = {"difference": 0.05, "low": 0.02, "high": 0.08, "p": 0.001, "p_holm": 0.01}
DOWN = {"difference": -0.05, "low": -0.08, "high": -0.02, "p": 0.001, "p_holm": 0.01}
NONE = {"difference": 0.01, "low": -0.02, "high": 0.04, "p": 0.4, "p_holm": 0.8}
ALONE = {"low": np.nan, "high": np.nan, "p": np.nan, "p_holm": np.nan}


@pytest.mark.parametrize(
    ("precision", "roc", "words"),
    [
        (UP, UP, "help? It helps."),
        (DOWN, DOWN, "help? It lowers the scores."),
        (NONE, NONE, "help? It is not told apart from no effect."),
        (UP, NONE, "help? Mixed: higher by long-range P@L and not told apart by ROC AUC."),
        (DOWN, UP, "help? Mixed: lower by long-range P@L and higher by ROC AUC."),
        (ALONE, ALONE, "help? Unknown: too few clusters to tell."),
    ],
)
def test_an_answer_is_worded_by_its_figures(results, precision, roc, words):
    said = answer(with_rows(results, "exp2", "exp1", p_at_l_long=precision, roc_auc=roc), "alignment")
    assert words in said
    assert "exp2 (alignment model `esm_msa1b_t4_1M_hardfold`) against exp1 (alignment model none)" in said


def test_an_answer_gives_difference_interval_p_proteins_and_clusters_of_the_pooled_split(results):
    other = with_rows(results, "exp2", "exp1", "test", p_at_l_long=DOWN, roc_auc=DOWN)
    said = answer(with_rows(other, "exp2", "exp1", p_at_l_long=UP, roc_auc=UP | {"p_holm": 0.0001}), "alignment")
    assert "long-range P@L higher, +0.050 [+0.020, +0.080], Holm p = 0.010; ROC AUC" in said
    assert "Holm p < 0.001; n = 7 proteins in 6 clusters." in said
    fewer = answer(with_rows(results, "exp2", "exp1", p_at_l_long={"proteins": 5, "clusters": 4}), "alignment")
    assert "n = 5 proteins in 4 clusters; ROC AUC" in fewer
    assert "n = 7 proteins in 6 clusters." in fewer


def test_several_pairs_are_counted_and_listed(results):
    said = answer(results, "auxiliary_tasks").split("\n    - ")
    assert said[0] == "**Do the auxiliary tasks help? Mixed: of 4 figures 2 lower and 2 not told apart.**"
    assert said[1].startswith("exp3 (contact BCE, distance MSE, angle MSE) against exp2 (contact BCE): ")
    assert len(said) == 3
    assert answer(results, "losses").startswith("**Which losses? None are told apart.**\n")


def test_a_question_that_no_pair_asks_is_said_to_be_unasked(results):
    assert "size" not in set(results.comparisons["question"])
    said = answer(results, "size")
    assert said == "**Does size help?** Unasked: no two experiments of this configuration differ in this alone."


def test_every_question_has_words_for_every_setting(results):
    for question in WORDINGS:
        asked = dataclasses.replace(results, comparisons=results.comparisons.assign(question=question))
        pairs = asked.comparisons["second"].isin([one.name for one in results.experiments])
        said = answer(dataclasses.replace(asked, comparisons=asked.comparisons[pairs]), question)
        assert "exp7 (" in said


def test_one_seed_is_said_plainly(results):
    said = design_statement(results)
    assert "3 test chains and 4 targets" in said
    assert "trained once, with one seed" in said


def test_baselines_are_beaten_by_those_whose_figures_say_so(results):
    changed = with_rows(results, "exp1", "couplings", p_at_l_long=DOWN | {"p_holm": np.nan}, roc_auc=NONE)
    changed = with_rows(changed, "exp3", "couplings", p_at_l_long=NONE | {"p_holm": np.nan})
    _, head, couplings = against_baselines(changed)
    assert head == (
        "**Attention head of `esm2_t6_2M_hardfold`:** long-range P@L higher for all 7 experiments. "
        "ROC AUC higher for all 7 experiments."
    )
    assert "P@L higher for exp2, exp4, exp5, exp6 and exp7; lower for exp1; not told apart for exp3. ROC" in couplings
    assert "ROC AUC higher for exp2, exp3, exp4, exp5, exp6 and exp7; not told apart for exp1." in couplings
    without = changed.comparisons[changed.comparisons["second"] != "separation_prior"]
    assert "P@L not compared." in against_baselines(dataclasses.replace(changed, comparisons=without))[0]


@pytest.mark.parametrize(
    ("precision", "roc", "words"),
    [
        (UP, UP, "it beats couplings alone (long-range P@L +0.050 [+0.020, +0.080], ROC AUC +0.050"),
        (DOWN, DOWN, "it falls short of couplings alone (long-range P@L −0.050"),
        (NONE, NONE, "it is not told apart from couplings alone (long-range P@L +0.010"),
        (
            UP,
            NONE,
            "beats couplings alone (long-range P@L +0.050 [+0.020, +0.080]) and is not told apart from",
        ),
        (ALONE, ALONE, "it cannot be judged against couplings alone"),
    ],
)
def test_the_summary_names_the_best_experiment_and_what_it_beats(results, precision, roc, words):
    alone = {"p_holm": np.nan}
    changed = with_rows(results, "exp7", "couplings", p_at_l_long=precision | alone, roc_auc=roc | alone)
    said = contact_statement(changed)
    assert "`exp7`, of 7 experiments the one with the highest ROC AUC on validation chains" in said
    assert words in said
    assert "beats ESM-2's attention head" in said
    assert "on 3 test proteins" in said


def test_the_summary_without_a_best_experiment_or_a_comparison(results):
    unknown = [
        dataclasses.replace(one, history=one.history.assign(validation_roc_auc=np.nan)) for one in results.experiments
    ]
    assert "none is named the best" in contact_statement(dataclasses.replace(results, experiments=unknown))
    empty = dataclasses.replace(results, comparisons=results.comparisons[:0])
    assert "was not compared with couplings alone" in contact_statement(empty)

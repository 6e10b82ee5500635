import dataclasses

import numpy as np
import pytest

from hardfold.report.captions import CAPTIONS
from hardfold.report.figures import FIGURES, draw_all
from hardfold.report.figures.maps import extremes, pool, residue_angles
from hardfold.report.figures.style import save, stack, with_style


def test_every_figure_has_a_caption_and_is_drawn(every_arm, tmp_path):
    assert list(FIGURES) == list(CAPTIONS)
    assert draw_all(every_arm, tmp_path) == list(FIGURES)
    assert {path.stem for path in tmp_path.iterdir()} == set(FIGURES)


def test_a_figure_drawn_twice_is_the_same_file(results, tmp_path):
    for name in ("folding_classes", "contact_maps"):
        with with_style():
            for copy in ("one", "two"):
                save(FIGURES[name](results), tmp_path / f"{copy}.png")
        first, second = ((tmp_path / f"{copy}.png").read_bytes() for copy in ("one", "two"))
        assert first == second
        assert b"Software" not in first


def test_a_figure_without_values_is_left_out(results):
    comparison = results.comparison | {"by_target": []}
    unknown = results.alignments.assign(neff=np.nan)
    empty = dataclasses.replace(results, comparison=comparison, alignments=unknown)
    of_targets = ["paired", "differences", "memorisation", "controls", "errors", "maps"]
    for name in ("data_depth", *(f"folding_{name}" for name in of_targets)):
        assert FIGURES[name](empty) is None
        assert FIGURES[name](results) is not None
    assert FIGURES["folding_adaptation"](results) is None  # test_time was not run
    without_residues = dataclasses.replace(results, residues=results.residues.assign(plddt=np.nan))
    assert FIGURES["folding_confidence"](without_residues) is not None
    contact_alone = dataclasses.replace(
        results, experiments=results.experiments[:2], comparisons=results.comparisons[:0]
    )
    for name in ("contact_differences", "contact_errors", "contact_angles"):
        assert FIGURES[name](contact_alone) is None
        assert FIGURES[name](results) is not None


def test_a_split_without_chains_leaves_the_figures_drawable(results, tmp_path):
    nothing = {"proteins": 0, "by_protein": [], "distance_error": None}
    nothing |= {"curves": {"roc": {"fpr": [0, 1], "tpr": None}, "pr": {"recall": [0, 1], "precision": None}}}
    one = results.experiments[4]
    without = dataclasses.replace(one, metrics=one.metrics | {"target": one.metrics["target"] | nothing})
    targets = results.metrics["target"].assign(p_at_l_long=np.nan, p_at_l_long_low=np.nan, p_at_l_long_high=np.nan)
    changed = dataclasses.replace(
        results, experiments=[without], baselines=[], metrics=results.metrics | {"target": targets}
    )
    with with_style():
        for name in ("contact_precision", "contact_curves", "contact_neff", "contact_errors", "contact_reliability"):
            save(FIGURES[name](changed), tmp_path / f"{name}.png")


def test_errors_of_both_splits_are_pooled_by_their_pairs():
    test = {"true": [3, 5], "mae": [2.0, None], "bias": [-2.0, None], "count": [30, 0]}
    target = {"true": [3, 5], "mae": [6.0, None], "bias": [2.0, None], "count": [10, 0]}
    pooled = pool([test, target])
    assert (pooled["mae"][0], pooled["bias"][0], pooled["count"][0]) == (3.0, -1.0, 40)
    assert np.isnan(pooled["mae"][1])
    assert pool([None, target])["mae"][0] == 6.0
    assert pool([None, None]) is None


def test_angles_are_those_of_test_residues_that_have_both(results):
    one = results.experiments[2]
    predicted, true = residue_angles(one, results.test_set)
    assert predicted.shape == true.shape == (3 * 62, 2)
    assert true[:, 1].mean() == pytest.approx(-0.7, abs=0.1)
    assert predicted[:, 1].mean() == pytest.approx(1.0, abs=0.2)


def test_the_training_axis_names_the_loss_that_was_used(results):
    def labelled(kind):
        changed = {"contact_loss_type": kind}
        runs = [dataclasses.replace(one, options=one.options | changed) for one in results.experiments]
        return runs, FIGURES["contact_training"](dataclasses.replace(results, experiments=runs))

    bce, figure = labelled("bce")
    assert figure.get_supylabel() == "loss (contact, BCE, positives × 5)"
    focal, figure = labelled("focal")
    assert figure.get_supylabel() == "loss (contact, focal, γ = 2, α = 0.25)"
    mixed = FIGURES["contact_training"](dataclasses.replace(results, experiments=[bce[0], focal[1]]))
    assert mixed.get_supylabel() == "loss of the main task"
    assert ["BCE" in axis.get_title() for axis in mixed.axes] == [True, False]
    by_distance = {"main_task": "distance", "distance_loss_type": "cross_entropy"}
    history = results.experiments[2].history.assign(train_contact=np.nan, validation_contact=np.nan)
    one = dataclasses.replace(bce[2], options=bce[2].options | by_distance, history=history)
    figure = FIGURES["contact_training"](dataclasses.replace(results, experiments=[one]))
    assert figure.get_supylabel() == "loss (distance, cross entropy)"
    assert list(figure.axes[0].lines[0].get_ydata()) == list(history["train_distance"])


def test_extremes_are_best_median_and_worst(results):
    one = results.experiments[0]
    assert {label: protein["chain"] for label, protein in extremes(one).items()} == {
        "best": "1c14_A",
        "median": "1c07_A",
        "worst": "1c06_A",
    }
    proteins = one.metrics["test"]["by_protein"]
    for number, labels in ((0, []), (1, ["only"]), (2, ["best", "worst"])):
        test = one.metrics["test"] | {"by_protein": proteins[:number]}
        assert list(extremes(dataclasses.replace(one, metrics=one.metrics | {"test": test}))) == labels


def test_stack_counts_dots_in_a_bin():
    assert list(stack(np.array([0.0, 0.11, 0.01, 0.02]), 0.1)) == [0, 0, 1, 2]


def test_differences_without_an_interval_are_drawn(results, tmp_path):
    secondary = [entry | {"low": None, "high": None} for entry in results.comparison["secondary"]]
    single = dataclasses.replace(results, comparison=results.comparison | {"secondary": secondary})
    with with_style():
        save(FIGURES["folding_differences"](single), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000

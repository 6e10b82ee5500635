import dataclasses

import numpy as np

from hardfold.report.captions import CAPTIONS
from hardfold.report.figures import FIGURES, draw_all
from hardfold.report.figures.contact import extremes
from hardfold.report.figures.style import save, stack, with_style


def test_every_figure_has_a_caption_and_is_drawn(results, tmp_path):
    assert list(FIGURES) == list(CAPTIONS)
    assert draw_all(results, tmp_path) == list(FIGURES)
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
    for name in ("folding_paired", "folding_differences", "folding_memorisation", "data_depth"):
        assert FIGURES[name](empty) is None


def test_extremes_are_best_median_and_worst(results):
    one = results.experiments[0]
    assert {label: protein["chain"] for label, protein in extremes(one).items()} == {
        "best": "1c14_A",
        "median": "1c07_A",
        "worst": "1c06_A",
    }
    single = dataclasses.replace(one, metrics=one.metrics | {"by_protein": one.metrics["by_protein"][:1]})
    assert list(extremes(single)) == ["only"]
    assert extremes(dataclasses.replace(one, metrics=one.metrics | {"by_protein": []})) == {}


def test_stack_counts_dots_in_a_bin():
    assert list(stack(np.array([0.0, 0.11, 0.01, 0.02]), 0.1)) == [0, 0, 1, 2]


def test_differences_without_an_interval_are_drawn(results, tmp_path):
    secondary = [entry | {"low": None, "high": None} for entry in results.comparison["secondary"]]
    single = dataclasses.replace(results, comparison=results.comparison | {"secondary": secondary})
    with with_style():
        save(FIGURES["folding_differences"](single), tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000

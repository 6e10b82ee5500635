import dataclasses

import numpy as np
import pytest

from hardfold.report.reading import ResultsError
from hardfold.report.verdict import compare_with_floor, criterion_verdict, floor_statement, stand_in_statement


def endpoint(**values):
    made_up = {"arm": "disjoint", "class": "all", "n": 32, "mean": 0.06, "median": 0.05, "low": 0.02, "high": 0.1}
    made_up |= {"p": 0.004, "p_method": "exact", "confidence": 0.95, "min_improvement": 0.05, "met": False}
    return made_up | values


def test_met_only_with_the_mean_and_the_interval():
    verdict = criterion_verdict(endpoint(met=True))
    assert verdict.heading == "Criterion met."
    assert "+0.060" in verdict.text
    assert "n = 32" in verdict.text
    assert "p = 0.004" in verdict.text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mean": 0.03, "low": -0.01, "high": 0.07}, "includes 0"),
        ({"mean": 0.06, "low": -0.01, "high": 0.13}, "which alone is not enough"),
        ({"mean": 0.03, "low": 0.01, "high": 0.05}, "stays below the 0.050"),
        ({"mean": -0.03, "low": -0.05, "high": -0.01}, "scores lower than the baseline"),
    ],
)
def test_not_met_says_why(values, words):
    verdict = criterion_verdict(endpoint(**values))
    assert verdict.heading == "Criterion not met."
    assert words in verdict.text


@pytest.mark.parametrize("values", [{"met": True, "low": -0.01}, {"met": True, "mean": 0.04}, {"met": False}])
def test_a_flag_that_contradicts_its_figures_is_refused(values):
    with pytest.raises(ResultsError, match="contradicts"):
        criterion_verdict(endpoint(**values))


def test_five_targets_are_case_studies_even_where_the_arithmetic_holds():
    verdict = criterion_verdict(endpoint(n=5, p=0.0625, met=True))
    assert verdict.heading == "Case studies, no verdict."
    assert "0.0625" in verdict.text
    assert criterion_verdict(endpoint(n=6, p=0.03125, met=True)).heading == "Criterion met."


def test_one_target_has_no_interval_and_none_gives_no_verdict():
    assert criterion_verdict(endpoint(n=1, low=None, high=None)).heading == "Case studies, no verdict."
    assert criterion_verdict(endpoint(n=0, mean=None, low=None, high=None)).heading == "No verdict."


def with_baseline(results, shift):
    """The results with every baseline TM-score set to its target's floor plus `shift` of the target's number."""
    scores = results.scores.copy()
    floor = scores[scores["arm"] == "random_walk"].set_index("target")["tm"]
    rows = scores["arm"] == "baseline"
    targets = scores.loc[rows, "target"]
    scores.loc[rows, "tm"] = targets.map(floor).to_numpy() + [shift(index) for index in range(len(targets))]
    return dataclasses.replace(results, scores=scores)


def test_floor_beaten_not_told_apart_and_not_beaten(results):
    assert "lies above" in floor_statement(with_baseline(results, lambda i: 0.1 + 0.01 * (i % 3)))
    apart = floor_statement(with_baseline(results, lambda i: 0.05 * (-1) ** i + 0.002))
    assert "cannot be told from" in apart
    below = floor_statement(with_baseline(results, lambda i: -0.02))
    assert "does not beat the random-walk floor" in below
    assert "little meaning" in below
    assert "little meaning" in apart


def test_floor_is_paired_by_target(results):
    compared = compare_with_floor(with_baseline(results, lambda i: 0.03 if i % 2 else -0.01))
    assert compared.n == 14
    assert compared.above == 7
    assert np.isclose(compared.baseline - compared.floor, 0.01)


def test_stand_ins_are_known_by_the_source_of_their_weights(results):
    assert "stand in" in stand_in_statement(results)
    url = "https://example.org/models/esm2_t6_8M_UR50D.pt"
    released = [model | {"source": url} for model in results.weights]
    assert "stand in" not in stand_in_statement(dataclasses.replace(results, weights=released))

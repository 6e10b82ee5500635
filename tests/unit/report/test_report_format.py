import math

import pytest

from hardfold.report import format


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.12345, "0.123"), (-0.0004, "0.000"), (-0.25, "−0.250"), (None, "–"), (math.nan, "–"), (0.0, "0.000")],
)
def test_number(value, shown):
    assert format.number(value) == shown


def test_signed_number_keeps_its_sign_and_zero_has_none():
    values = (0.05, -0.05, 0.0, 0.0001, -0.00002, 3e-17)
    shown = ["+0.050", "−0.050", "0.000", "+0.0001", "−0.00002", "0.000"]
    assert [format.number(value, signed=True) for value in values] == shown


def test_interval_needs_both_ends():
    assert format.interval(0.5, 0.4, 0.6, digits=1) == "0.5 [0.4, 0.6]"
    assert format.interval(0.5, None, 0.6, digits=1) == "0.5"
    assert format.interval(None, 0.4, 0.6) == "–"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.84, "0.8 s"), (42.3, "42 s"), (59.7, "1 min 0 s"), (725, "12 min 5 s"), (11045, "3 h 4 min")],
)
def test_duration(seconds, shown):
    assert format.duration(seconds) == shown


def test_p_value_percent_scientific_and_words():
    assert (format.p_value(0.0002), format.p_value(0.0312)) == ("< 0.001", "0.031")
    assert format.percent(0.304, 1) == "30.4 %"
    assert [format.scientific(value) for value in (1e-5, 5e-4, 0.3, 0.0)] == ["1e-5", "5e-4", "0.3", "0"]
    assert [format.words(items) for items in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_table_aligns_escapes_and_explains_unknown_values():
    lines = format.markdown_table(["name", "n"], [["a|b", 1], ["c\n<d>", ""]]).splitlines()
    assert lines[:4] == ["| name | n |", "| :--- | ---: |", "| a\\|b | 1 |", "| c &lt;d> | – |"]
    assert lines[-1] == format.UNKNOWN_NOTE
    assert format.UNKNOWN not in format.markdown_table(["name"], [["a"]])

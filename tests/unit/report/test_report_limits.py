"""What the report says of the pretrained models' own training data: only what is known."""

import dataclasses

import pytest

from hardfold.report.tables.run import limits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("esm2_t6_8M_UR50D", "ESM-2 on UniRef50 of April 2021"),
        ("esm2_mine", "what `esm2_mine` saw in pretraining is not known"),
    ],
)
def test_what_the_language_model_saw(results, name, expected):
    weights = [model | {"name": name, "source": "/data/models"} for model in results.weights[:1]]
    text = " ".join(limits(dataclasses.replace(results, weights=weights)))
    assert expected in text
    assert ("UniRef50" in text) == (name == "esm2_t6_8M_UR50D")


def test_nothing_is_said_of_uniref_for_embedded_models(results):
    assert "UniRef50" not in " ".join(limits(results))

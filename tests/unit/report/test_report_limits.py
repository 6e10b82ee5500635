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


def test_pairs_that_no_window_sees_and_unfinished_training_are_said(results):
    assert "Windows of" not in " ".join(limits(results)) and "last epoch" not in " ".join(limits(results))
    one = results.experiments[0]
    rows = [{"chain": "1abc_A", "pairs": 75, "pairs_unseen": 25}]
    metrics = one.metrics | {"test": one.metrics["test"] | {"by_protein": rows}, "target": {"by_protein": []}}
    training = one.training | {"best_epoch": one.training["epochs"]}
    changed = dataclasses.replace(one, metrics=metrics, training=training)
    text = " ".join(limits(dataclasses.replace(results, experiments=[changed, *results.experiments[1:]])))
    assert f"of all held-out pairs 25 % ({one.name})." in text
    assert f"{one.name} was best in the last epoch" in text


@pytest.mark.parametrize(
    ("chains", "expected"),
    [(None, "whether it saw held-out ones is unknown"), (3000, "none of the 3,000 chains that it was trained on")],
)
def test_what_a_loaded_checkpoint_saw(results, chains, expected):
    assert "starts from" not in " ".join(limits(results))
    one = results.experiments[2]
    options = one.options | {"checkpoint_path_to_load": "other/model.safetensors"}
    changed = dataclasses.replace(one, options=options, training=one.training | {"checkpoint_chains": chains})
    text = " ".join(limits(dataclasses.replace(results, experiments=[changed])))
    assert "exp3 starts from `other/model.safetensors`" in text and expected in text

import json

import h5py
import numpy as np
import pytest
import torch

from hardfold import backbones, tables
from hardfold.folding import memory, test_time
from hardfold.folding.memory import TooLong
from hardfold.folding.model import ModelError
from hardfold.folding.predict import fold_sequence, predict_structures
from hardfold.folding.test_time import (
    COLUMNS,
    SequenceTask,
    adapt,
    add_stem_adapter,
    choose_step,
    load_head,
    masked_loss,
    predict_test_time,
)

SETTINGS = {"steps": 5, "every": 2, "learning_rate": 0.05, "batch_size": 2, "mask_fraction": 0.2, "rank": 2, "alpha": 4}
SETTINGS |= {"choose_by": "perplexity"}
TIMING = {"seconds", "peak_memory_mb"}
SEQUENCE = "MKTAYIAKQRXISFVKSHFSRQLEERLGLIEVQAPILSRV"


@pytest.fixture
def head(tiny, language_model):
    return load_head(tiny, language_model / "esm2_tiny.pt")


def test_the_head_gives_the_logits_of_the_checkpoint(tiny, head, language_model):
    network, alphabet = backbones.load(language_model / "esm2_tiny.pt")
    tokens = torch.tensor([alphabet.encode("<cls>MKT<mask>YIAK<eos>")])
    with torch.no_grad():
        expected = network(tokens)["logits"]
        hidden = tiny.esm(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        assert torch.allclose(head(hidden), expected, atol=1e-5)


def test_a_checkpoint_that_is_not_the_stem_is_refused(tiny, language_model):
    with torch.no_grad():
        tiny.esm.encoder.layer[0].output.dense.weight[0, 0] += 1
    with pytest.raises(ModelError, match=r"esm2_tiny is not the stem .* 1 weights differ, esm.encoder.layer.0.output"):
        load_head(tiny, language_model / "esm2_tiny.pt")


def test_a_stem_of_another_depth_is_refused(tiny, tmp_path):
    backbones.save(backbones.build_esm2(2, 8, 2)[0], tmp_path / "esm2_deep.pt")
    with pytest.raises(ModelError, match="esm2_deep is not the stem"):
        load_head(tiny, tmp_path / "esm2_deep.pt")


def test_the_adapter_is_on_the_stem_alone_and_changes_nothing_untrained(tiny):
    before = fold_sequence(tiny, SEQUENCE, 0)[0]
    adapted = add_stem_adapter(tiny, 2, 4)
    names = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert len(names) == 2 * 6 and all(".esm.encoder.layer.0." in name for name in names)
    assert np.array_equal(fold_sequence(adapted, SEQUENCE, 0)[0], before, equal_nan=True)


def test_held_out_residues_are_never_asked_for_in_training(tiny):
    task = SequenceTask(tiny, "T1", SEQUENCE, 1, 0.2)
    known = len(SEQUENCE) - 1  # one is of unknown type
    assert len(task.held_out) == round(0.2 * known) and len(task.trained) == known - len(task.held_out)
    asked = torch.zeros(len(SEQUENCE) + 2, dtype=torch.bool)
    for _ in range(50):
        tokens, target = task.masked_copies(2)
        assert ((target != -100).sum(1) == round(0.2 * len(task.trained))).all()
        assert (tokens[target == -100] == task.tokens.repeat(2, 1)[target == -100]).all()
        assert (target[target != -100] == task.tokens.repeat(2, 1)[target != -100]).all()
        asked |= (target != -100).any(0)
    assert asked.nonzero()[:, 0].tolist() == task.trained.tolist()
    tokens, target = task.held_out_copy()
    assert (target[0] != -100).nonzero()[:, 0].tolist() == task.held_out.tolist()
    assert (tokens[0, task.held_out] == task.mask_token).all()


def test_masks_are_of_80_10_10(tiny):
    task = SequenceTask(tiny, "T1", SEQUENCE * 20, 1, 0.2)
    tokens, target = task.masked_copies(40)
    at = target != -100
    hidden, same = (tokens[at] == task.mask_token).float().mean(), (tokens[at] == target[at]).float().mean()
    assert hidden == pytest.approx(0.8, abs=0.02)
    assert same == pytest.approx(0.1 + 0.1 / 20, abs=0.02)


def test_tokens_are_those_that_the_folding_model_reads(tiny, monkeypatch):
    seen = []
    forward = tiny.esm.forward
    monkeypatch.setattr(tiny.esm, "forward", lambda tokens, **more: seen.append(tokens) or forward(tokens, **more))
    fold_sequence(tiny, SEQUENCE, 0)
    assert torch.equal(seen[0][0], SequenceTask(tiny, "T1", SEQUENCE, 1, 0.2).tokens)


def test_adaptation_lowers_the_masked_loss(tiny, head):
    adapted, task = add_stem_adapter(tiny, 2, 4), SequenceTask(tiny, "T1", "MKT" * 12, 1, 0.2)
    rows = list(adapt(adapted, head, task, "T1", SETTINGS | {"steps": 30, "every": 10}))
    assert [row["step"] for row in rows] == [0, 10, 20, 30]
    assert rows[0]["loss"] is None
    assert rows[-1]["loss"] < rows[1]["loss"]
    assert rows[-1]["perplexity"] < rows[0]["perplexity"]
    expected = float(masked_loss(tiny.esm, head, *task.held_out_copy()).exp())
    assert rows[-1]["perplexity"] == pytest.approx(expected, rel=1e-4)


def test_the_choice_is_by_confidence_or_by_perplexity_and_early_among_equals():
    rows = [
        {"step": 0, "plddt": 50.0, "perplexity": 9.0},
        {"step": 10, "plddt": 60.0, "perplexity": 8.0},
        {"step": 20, "plddt": 60.0, "perplexity": 7.0},
    ]
    assert choose_step(rows, "plddt")["step"] == 10
    assert choose_step(rows, "perplexity")["step"] == 20


def run(weights, language_model, targets, output, **change):
    places = {"weights": weights, "language_model": language_model, "targets": targets, "output": output}
    places |= {"state": output.with_name(f"{output.name}-state")}
    predict_test_time(**places, seed=1, settings=SETTINGS | change, recycles=0, chunk_size=0, threads=1)
    steps = tables.read(output / "steps.tsv", COLUMNS)
    return steps, tables.read(output / "predictions.tsv", key="target").set_index("target")


def test_a_run_leaves_every_candidate_and_the_chosen_ones(weights, language_model, data, tmp_path):
    steps, predictions = run(weights, language_model, data["validation"], tmp_path / "seed1")
    assert steps.groupby("target")["step"].apply(list).to_list() == [["0", "2", "4", "5"]] * 2
    chosen = steps[steps["chosen"] == "yes"].set_index("target")
    lowest = steps.assign(value=steps["perplexity"].astype(float)).sort_values("value").drop_duplicates("target")
    assert chosen["step"].to_dict() == lowest.set_index("target")["step"].to_dict() == predictions["step"].to_dict()
    for target, file in chosen["file"].items():
        assert (tmp_path / "seed1" / f"{target}.cif").read_bytes() == (tmp_path / "seed1" / file).read_bytes()
    record = json.loads((tmp_path / "seed1/adaptation.json").read_text())
    assert (record["step0_max_difference"], record["targets"], record["choose_by"]) == (0.0, 2, "perplexity")
    assert record["language_model_weights"]["name"] == "esm2_tiny"


def test_step_0_is_the_baseline_and_later_steps_are_not(weights, language_model, data, tmp_path):
    steps, _ = run(weights, language_model, data["validation"], tmp_path / "seed1")
    places = {"weights": weights, "targets": data["validation"], "output": tmp_path / "baseline/predictions.tsv"}
    predict_structures(**places, adapters=[], folds=None, recycles=0, chunk_size=0, half_stem=False, threads=1)
    for target, step, file in steps[["target", "step", "file"]].to_numpy():
        baseline = (tmp_path / "baseline" / f"{target}.cif").read_bytes()
        assert ((tmp_path / "seed1" / file).read_bytes() == baseline) is (step == "0")


def test_a_target_does_not_depend_on_the_others_nor_on_any_native(weights, language_model, data, tmp_path):
    first, _ = run(weights, language_model, data["validation"], tmp_path / "first")
    with h5py.File(data["validation"], "a") as file:
        del file["chains/2abc_0"]
        file["chains/2abc_1/coordinates"][...] = np.nan
        file["chains/2abc_1/mask"][...] = False
    again, _ = run(weights, language_model, data["validation"], tmp_path / "again")
    own = first[first["target"] == "2abc_1"].reset_index(drop=True)
    assert own.equals(again.reset_index(drop=True))
    for file in own["file"]:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


LOSSES = 9  # of each target: 5 steps, and the held-out residues at steps 0, 2, 4 and 5


@pytest.mark.parametrize("call", [LOSSES - 1, LOSSES + 3])
def test_a_killed_run_goes_on_after_the_targets_that_are_done(
    weights, language_model, data, tmp_path, kill_in_step, monkeypatch, call
):
    places = weights, language_model, data["validation"]
    run(*places, tmp_path / "whole")
    kill_in_step(test_time, lambda: run(*places, tmp_path / "killed"), call, "masked_loss")
    assert not (tmp_path / "killed/adaptation.json").exists()
    calls = []
    monkeypatch.setattr(test_time, "masked_loss", lambda *arguments: calls.append(1) or masked_loss(*arguments))
    run(*places, tmp_path / "killed")
    assert len(calls) == (LOSSES if call > LOSSES else 2 * LOSSES)
    files = {folder: sorted((tmp_path / folder).rglob("*.[ct]*")) for folder in ("whole", "killed")}
    assert len(files["whole"]) == 2 * 4 + 2 + 2  # structures by step, those chosen, tables
    for first, second in zip(*files.values(), strict=True):
        assert first.read_bytes() == second.read_bytes(), first
    records = [json.loads((tmp_path / name / "adaptation.json").read_text()) for name in files]
    first, second = ({key: value for key, value in record.items() if key not in TIMING} for record in records)
    assert first == second
    assert [path.name for path in (tmp_path / "killed-state").iterdir()] == ["config.json"]


def test_a_killed_run_of_other_settings_starts_anew(weights, language_model, data, tmp_path, kill_in_step, caplog):
    places = weights, language_model, data["validation"], tmp_path / "killed"
    kill_in_step(test_time, lambda: run(*places), LOSSES + 3, "masked_loss")
    steps, _ = run(*places, learning_rate=0.01)
    assert "is of a run with other options.learning_rate: starting anew" in caplog.text
    assert steps.equals(run(*places[:3], tmp_path / "fresh", learning_rate=0.01)[0])


def test_a_target_that_the_stem_cannot_be_trained_on_is_refused_first(
    weights, language_model, data, tmp_path, monkeypatch
):
    monkeypatch.setattr(test_time, "require_inference", lambda *arguments: None)
    monkeypatch.setattr(memory, "free_bytes", lambda place: 1000)
    monkeypatch.delattr(test_time, "fold_sequence")  # nothing is folded
    with pytest.raises(TooLong, match=r"^2abc_0 \(and 1 more chains\): adapting the language model to 2 copies of 11"):
        run(weights, language_model, data["validation"], tmp_path / "run")

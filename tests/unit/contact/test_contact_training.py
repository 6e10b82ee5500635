"""The training of an experiment: what each option does, checkpoints, and a run that is killed and started again."""

import csv
import json
import logging
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hardfold import tables
from hardfold.contact import module
from hardfold.contact.experiment import load_experiment
from hardfold.contact.model import ContactModel
from hardfold.contact.module import ContactModule
from hardfold.contact.predict import predict, predict_experiment
from hardfold.contact.samples import Samples
from hardfold.contact.seen import SeenChains, digests
from hardfold.contact.train import train_experiment
from hardfold.contacts import resolved_pairs, roc_auc
from hardfold.dataset import Dataset

FOCAL = {"contact_loss_type": "focal"}
DISTANCE = {"main_task": "distance", "distance_loss_type": "cross_entropy"}


@pytest.fixture
def run(options, weight_folders, chain_files, tmp_path):
    """Train into tmp_path/<name>; its state lies in tmp_path/<state or name>-state."""

    assignment = tmp_path / "assignment.tsv"
    splits = {id: split for split, path in chain_files.items() for id in Dataset(path).ids}
    tables.write(assignment, [{"chain": id, "split": split} for id, split in splits.items()], ["chain", "split"])

    def run(name="exp", seed=1, state=None, **changes):
        train_experiment(
            experiment="exp", options={**options, **changes}, seed=seed, threads=1, **weight_folders,
            train=chain_files["train"], validation=chain_files["validation"], assignment=assignment,
            held_out=[chain_files[split] for split in ("validation", "test", "target")],
            embeddings=chain_files["train"].parent / "embeddings",
            state=tmp_path / f"{state or name}-state", output=tmp_path / name,
        )  # fmt: skip
        return tmp_path / name

    return run


def history(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def column(folder, name):
    return [float(row[name]) for row in history(folder)]


def record(folder):
    return json.loads((folder / "training.json").read_text())


BINS = {"distance_loss_type": "cross_entropy", "angle_loss_type": "cross_entropy"}
TOKENS = {"num_layers_to_freeze_msa": 0}
LORA = {"lora_rank_esm2": 2}
# (option, another value, in the company of), of options without a closer test.
EFFECTS = [
    ("use_msa", False, {}),
    ("num_msa_rows", 1, TOKENS),
    ("use_distance", False, {}),
    ("use_angle", False, {}),
    ("distance_loss_type", "smooth_l1", {}),
    ("distance_loss_type", "cross_entropy", {}),
    ("angle_loss_type", "cosine", {}),
    ("angle_loss_type", "cross_entropy", {}),
    ("contact_loss_weight", 2.0, {}),
    ("distance_loss_weight", 2.0, {}),
    ("angle_loss_weight", 2.0, {}),
    ("lora_rank_esm2", 2, {}),
    ("lora_rank_msa", 2, TOKENS),
    ("lora_alpha", 2, LORA),
    ("fusion_dim", 4, {}),
    ("fusion_num_layers", 2, {}),
    ("fusion_num_heads", 4, {}),
    ("max_distance", 10.0, {}),
    ("num_distance_bins", 19, BINS),
    ("num_angle_bins", 8, BINS),
    ("weight_decay", 0.9, {}),
]


@pytest.mark.parametrize(("option", "value", "company"), EFFECTS, ids=[f"{o}-{v}" for o, v, _ in EFFECTS])
def test_an_option_changes_the_training(run, option, value, company):
    before, after = run("before", **company), run("after", **{**company, option: value})
    differs = [
        (before / name).read_bytes() != (after / name).read_bytes() for name in ("history.csv", "model.safetensors")
    ]
    assert any(differs)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"positive_weight": 2.0}),
        ({}, FOCAL),
        (FOCAL, {**FOCAL, "focal_gamma": 1.0}),
        (FOCAL, {**FOCAL, "focal_alpha": 0.5}),
    ],
)
def test_the_contact_loss_is_the_one_asked_for(run, first, second):
    before, after = run("before", num_epochs=1, **first), run("after", num_epochs=1, **second)
    for name in ("train_contact", "validation_contact"):
        assert column(before, name) != column(after, name)


def test_contacts_may_come_from_distances_alone(run, weight_folders, chain_files):
    folder = run(**DISTANCE, use_contact=False)
    assert [row["train_contact"] for row in history(folder)] == ["", ""]
    model, _ = load_experiment(folder, **weight_folders)
    samples = Samples(chain_files["validation"], model, chain_files["train"].parent / "embeddings")
    scores = [
        roc_auc(*resolved_pairs(predicted["contact_probability"], samples.chains[chain].contact_map))
        for chain, predicted in predict(model, samples)
    ]
    # predictions are stored as float16
    assert max(column(folder, "validation_roc_auc")) == pytest.approx(np.nanmean(scores), abs=2e-3)


def test_the_main_task_is_what_the_validation_scores(run):
    distance, contact = run("distance", **DISTANCE), run("contact", distance_loss_type="cross_entropy")
    assert column(distance, "train_loss") == column(contact, "train_loss")
    assert column(distance, "validation_roc_auc") != column(contact, "validation_roc_auc")


def test_epoch_means_do_not_depend_on_the_batches(run):
    still = {"learning_rate": 0.0, "num_epochs": 1}
    one, three = run("one", val_batch_size=1, **still), run("three", val_batch_size=3, **still)
    for name in ("loss", "contact", "distance", "angle", "roc_auc", "pr_auc"):
        assert column(one, f"validation_{name}") == pytest.approx(column(three, f"validation_{name}"), rel=1e-4)
    weighted = {"contact": 1.0, "distance": 0.2, "angle": 0.2}
    expected = sum(weight * column(one, f"train_{task}")[0] for task, weight in weighted.items())
    assert column(one, "train_loss")[0] == pytest.approx(expected, rel=1e-6)


def test_the_learning_rate_falls_as_a_cosine_and_starts_again(run):
    folder = run(num_epochs=7, use_scheduler=True, t_0=2, t_mult=2, eta_min=0.002, learning_rate=0.01)
    places = [(0, 2), (1, 2), (0, 4), (1, 4), (2, 4), (3, 4), (0, 8)]  # (epoch, length) of each period
    expected = [0.002 + 0.004 * (1 + math.cos(math.pi * epoch / length)) for epoch, length in places]
    assert column(folder, "learning_rate") == pytest.approx(expected)
    assert column(run("plain"), "learning_rate") == [0.01, 0.01]


@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU")
@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16), ("16-mixed", torch.bfloat16)],
)
def test_the_training_has_the_precision_asked_for(run, monkeypatch, precision, dtype):
    seen, forward = set(), ContactModel.forward

    def watched(model, batch):
        outputs = forward(model, batch)
        seen.add((model.training, outputs["angle"].dtype))
        return outputs

    monkeypatch.setattr(ContactModel, "forward", watched)
    folder = run(precision=precision, num_epochs=1, use_distance=False)
    assert seen == {(True, dtype), (False, dtype)}
    assert all(values.dtype == torch.float32 for values in load_file(folder / "model.safetensors").values())


def gradient_norms(monkeypatch):
    """The norm of the gradient at each step from now on."""
    norms, step = [], torch.optim.AdamW.step

    def watched(optimizer, *arguments, **settings):
        closure = arguments[0] if arguments else settings.get("closure")

        def measured():
            loss = closure()
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            norms.append(float(torch.nn.utils.get_total_norm(gradients)))
            return loss

        return step(optimizer, measured)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    return norms


@pytest.mark.parametrize("clip", [0, 0.01, 1.0])
def test_the_gradient_is_clipped_to_its_largest_norm(run, monkeypatch, clip):
    norms = gradient_norms(monkeypatch)
    run(gradient_clip=clip, contact_loss_weight=50.0)
    assert len(norms) == 6
    assert all(norm <= clip * 1.0001 for norm in norms) if clip else max(norms) > 1


def test_batches_are_accumulated_to_a_step(run):
    single, triple = run("single", num_epochs=1), run("triple", accumulate_batches=3, num_epochs=1)
    assert (record(single)["steps"], record(triple)["steps"]) == (3, 1)


def test_the_gradient_of_accumulated_batches_is_their_mean(run, monkeypatch):
    gradients = []

    def watched(optimizer, closure):
        closure()
        gradients.append([p.grad.clone() for group in optimizer.param_groups for p in group["params"]])

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)  # the weights stay as they are
    still = {"gradient_clip": 0, "num_epochs": 1}
    run("single", **still)
    run("triple", accumulate_batches=3, **still)
    *singles, triple = gradients
    assert len(singles) == 3
    for *parts, mean in zip(*singles, triple, strict=True):
        torch.testing.assert_close(mean, sum(parts) / 3, rtol=1e-4, atol=1e-7)


def test_one_batch_is_overfitted(run):
    folder = run(overfit_one_batch=True, num_epochs=40, learning_rate=0.03, fusion_dim=32, use_distance=False)
    assert record(folder)["steps"] == 40  # a batch an epoch
    losses, scores = column(folder, "train_contact"), column(folder, "validation_roc_auc")
    assert losses[-1] < 0.2 * losses[0] and scores[-1] > 0.8 > 0.7 > scores[0]
    # validated on the very batch: after a step its loss is what training sees next
    assert column(folder, "validation_loss")[:-1] == pytest.approx(column(folder, "train_loss")[1:], rel=1e-5)


def epochs_kept(folder):
    """Epoch -> checkpoint, of those left in the run's state."""
    files = (folder.parent / f"{folder.name}-state").glob("*.ckpt")
    return {int(file.name.removeprefix("epoch=").split("-")[0]): file for file in files}


@pytest.mark.parametrize(
    ("metric", "maximise"),
    [
        ("validation_roc_auc", True),
        ("validation_pr_auc", True),
        ("validation_loss", False),
        ("validation_angle", False),
    ],
)
def test_the_best_epochs_by_the_metric_are_kept(run, metric, maximise):
    folder = run(
        num_epochs=5, save_best_k_checkpoints=2, checkpoints_metric=metric, maximize_metric=maximise, learning_rate=0.05
    )
    values = column(folder, metric)
    best = sorted(range(5), key=lambda epoch: -values[epoch] if maximise else values[epoch])[:2]
    kept = epochs_kept(folder)
    assert set(kept) == {epoch + 1 for epoch in best}
    assert record(folder)["best_epoch"] == best[0] + 1
    state = torch.load(kept[best[0] + 1], weights_only=True)["state_dict"]
    written = load_file(folder / "model.safetensors")
    assert state.keys() == written.keys() and all(torch.equal(state[name], written[name]) for name in state)


def test_checkpoints_hold_what_is_trained_alone(run):
    (checkpoint,) = epochs_kept(run()).values()
    names = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert any(name.startswith("esm2.model.layers.1.") for name in names)
    assert not any(name.startswith(("esm_msa.", "esm2.model.layers.0.")) for name in names)


def test_a_metric_without_a_value_in_any_epoch_is_an_error(run, monkeypatch):
    monkeypatch.setitem(module._SCORES, "validation_roc_auc", lambda scores, is_contact: math.nan)
    with pytest.raises(ValueError, match="validation_roc_auc is undefined in every epoch"):
        run()


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
def test_training_starts_from_a_checkpoint(run, caplog, kind):
    first = run("first")
    path = first / "model.safetensors" if kind == "model" else next(iter(epochs_kept(first).values()))
    still = {"learning_rate": 0.0, "weight_decay": 0.0, "num_epochs": 1}
    with caplog.at_level(logging.INFO):
        second = run("second", checkpoint_path_to_load=str(path), **still)
    before, after = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert f"{path}: {len(before)} trained tensors loaded, none missing, none unexpected" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_angle": False}, "unexpected: heads.angle.layers.0.bias"),
        ({"num_layers_to_freeze_esm2": 0}, "missing: esm2.model.embed_tokens.weight"),
        ({"fusion_dim": 4}, "of another shape: fusion.layers.0.across.norm.bias"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(run, change, message):
    path = run("first", num_epochs=1) / "model.safetensors"
    with pytest.raises(ValueError, match=f"model.safetensors: trained weights do not fit the model .*{message}"):
        run("second", checkpoint_path_to_load=str(path), **change)


class Payload:
    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


@pytest.mark.parametrize("damage", ["truncated", "truncated checkpoint", "code"])
def test_a_damaged_checkpoint_is_refused_and_code_in_it_not_run(run, capsys, damage):
    folder = run("first", num_epochs=1)
    path = folder / "model.safetensors" if damage == "truncated" else next(iter(epochs_kept(folder).values()))
    if damage == "code":
        torch.save({"state_dict": Payload()}, path)
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{re.escape(path.name)} is damaged, or holds more than tensors"):
        run("second", checkpoint_path_to_load=str(path))
    assert "a checkpoint ran code" not in capsys.readouterr().out


def test_a_checkpoint_on_other_backbones_is_refused(run):
    folder = run("first", num_epochs=1)
    config = json.loads((folder / "config.json").read_text())
    config["weights"]["esm2"]["files"]["esm2_t2_tiny.pt"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="trained on other weights of esm2_t2_tiny"):
        run("second", checkpoint_path_to_load=str(folder / "model.safetensors"))


def write_seen(folder, seen):
    config = json.loads((folder / "config.json").read_text()) | {"trained_on": seen}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder / "model.safetensors")


def test_a_checkpoint_that_saw_a_held_out_chain_is_refused(run, chain_files, tmp_path):
    folder = run("first", num_epochs=1)
    seen = json.loads((folder / "config.json").read_text())["trained_on"]
    assert dict(seen) == digests(chain_files["train"]) and record(folder)["checkpoint_chains"] is None
    second = run("second", num_epochs=1, checkpoint_path_to_load=write_seen(folder, [*seen, ["9xyz_A", "0" * 16]]))
    assert record(second)["checkpoint_chains"] == len(seen) + 1
    assert ["9xyz_A", "0" * 16] in json.loads((second / "config.json").read_text())["trained_on"]
    by_name, by_sequence = ["2abc_1", "0" * 16], ["9xyz_A", digests(chain_files["target"])["3abc_0"]]
    for one, name in ((by_name, "2abc_1"), (by_sequence, "3abc_0")):
        with pytest.raises(SeenChains, match=f"first/model.safetensors was trained on 1 chains .*: {name}$"):
            run("third", checkpoint_path_to_load=write_seen(folder, [*seen, one]))
    dropped = (tmp_path / "assignment.tsv").read_text() + "9xyz_A\tdropped\n"
    (tmp_path / "assignment.tsv").write_text(dropped)
    with pytest.raises(SeenChains, match="9xyz_A"):
        run("third", checkpoint_path_to_load=write_seen(folder, [*seen, ["9xyz_A", "0" * 16]]))


def test_what_a_checkpoint_without_a_record_saw_stays_unknown(run):
    path = write_seen(run("first", num_epochs=1), None)
    second = run("second", num_epochs=1, checkpoint_path_to_load=path)
    assert record(second)["checkpoint_chains"] is None
    assert json.loads((second / "config.json").read_text())["trained_on"] is None


LONG = {"num_epochs": 4, "use_scheduler": True, "t_0": 2, "save_best_k_checkpoints": 2, "accumulate_batches": 2}


# 3 batches an epoch: in the first, at the beginning, the end and the very end of others.
@pytest.mark.parametrize("step", [2, 4, 9, 12])
def test_a_killed_run_goes_on_to_the_same_result(run, weight_folders, chain_files, caplog, step, kill_in_step):
    whole = run("whole", **LONG)
    kill_in_step(ContactModule, lambda: run("killed", **LONG), step)
    with caplog.at_level(logging.INFO):
        killed = run("killed", **LONG)
    assert ("going on from" in caplog.text) == (step > 3)
    for folder in (whole, killed):
        predict_experiment(
            folder=folder, **weight_folders, chains={"test": chain_files["test"]}, output=folder / "predictions.h5",
            embeddings=chain_files["train"].parent / "embeddings", threads=1,
        )  # fmt: skip
    for name in ("model.safetensors", "history.csv", "config.json", "predictions.h5"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert [record(folder)["steps"] for folder in (whole, killed)] == [8, 8]
    assert set(epochs_kept(whole)) == set(epochs_kept(killed)) and len(epochs_kept(whole)) == 2


def test_a_run_killed_while_it_writes_its_results_does_not_train_again(run, monkeypatch):
    whole = run("whole", **LONG)

    def full_disk(*arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("hardfold.contact.train.save_file", full_disk)
        run("killed", **LONG)
    monkeypatch.delattr(ContactModule, "_losses")  # no step can be made
    killed = run("killed", **LONG)
    for name in ("model.safetensors", "history.csv", "config.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("other", "named"), [({"learning_rate": 0.02}, "options.learning_rate"), ({"seed": 2}, "seed")]
)
def test_state_of_another_run_is_not_gone_on_from(run, caplog, other, named, kill_in_step):
    kill_in_step(ContactModule, lambda: run("killed", **LONG), 8)
    with caplog.at_level(logging.WARNING):
        after = run("after", state="killed", **{**LONG, **other})
    assert f"is of a run with other {named}: starting anew" in caplog.text
    assert (after / "model.safetensors").read_bytes() == (
        run("fresh", **{**LONG, **other}) / "model.safetensors"
    ).read_bytes()


def test_a_run_that_is_complete_leaves_nothing_to_go_on_from(run):
    first = run("first")
    assert not (first.parent / "first-state" / "last.ckpt").exists()
    again = run("again", state="first")  # forced to train again
    assert (again / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()
    assert record(again)["steps"] == record(first)["steps"] == 6

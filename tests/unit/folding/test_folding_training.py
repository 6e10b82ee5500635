"""Fine-tuning: what a run leaves, what each option does, and a run that is killed and started again."""

import csv
import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hardfold.dataset import Dataset
from hardfold.folding import finetune as finetuning
from hardfold.folding import memory, module, predict
from hardfold.folding.adapters import LAYERS
from hardfold.folding.finetune import convergence, finetune
from hardfold.folding.memory import TooLong
from hardfold.folding.model import checkpoint_blocks, fold
from hardfold.folding.module import (
    HISTORY,
    ChainSet,
    Crops,
    FoldingModule,
    collate,
    loss_parts,
    plan_steps,
    resolved_start,
    validate,
    warmup_factor,
    weighted_sum,
)
from hardfold.folding.predict import predict_structures, step0_difference
from hardfold.structure.parse import read_model
from hardfold.training import NonFiniteLoss

WEIGHTS = {"fape": 1.0, "fape_clamped": 0.5, "fape_blocks": [], "confidence": 0.1, "contact": 0.3}
ADAPTER = {
    "mode": "lora", "blocks": 1, "layers": list(LAYERS), "rank": 2, "alpha": 4, "dropout": 0.0, "train_confidence": True
}  # fmt: skip
OPTIONS = {
    "adapter": ADAPTER,
    "training": {
        "learning_rate": 0.01,
        "alignment_learning_rate": 0.01,
        "steps": 5,
        "warmup": 2,
        "schedule": "constant",
        "batch_size": 2,
        "accumulate_batches": 1,
        "crop": 10,
        "precision": "32-true",
        "activation_checkpointing": False,
        "validate_every": 2,
        "patience": 0,
    },
    "losses": WEIGHTS,
    "recycles": 1,
    "chunk_size": 0,
    "half_stem": False,
}


FILES = ("history.csv", "adapter/adapter_model.safetensors", "adapter/adapter_config.json")


@pytest.fixture
def run(weights, data, tmp_path):
    """Fine-tune into tmp_path/<name>; its state lies in tmp_path/<name>-state. Returns that folder."""

    def run(
        name="run",
        seed=1,
        arm="disjoint",
        chains=None,
        adapter=None,
        losses=None,
        options=None,
        alignments=None,
        **training,
    ):
        paths = {split: Dataset(path) for split, path in data.items()} | (chains or {})
        settings = {
            "adapter": ADAPTER | (adapter or {}),
            "losses": WEIGHTS | (losses or {}),
            "training": OPTIONS["training"] | training,
        }
        finetune(
            arm=arm, seed=seed, weights=weights, **paths, output=tmp_path / name, state=tmp_path / f"{name}-state",
            options=OPTIONS | (options or {}) | settings, threads=1, alignments=alignments or {},
        )  # fmt: skip
        return tmp_path / name

    return run


def rows(folder):
    return list(csv.DictReader((folder / "history.csv").read_text().splitlines()))


def record(folder):
    return json.loads((folder / "training.json").read_text())


def test_crops_are_contiguous_and_padded(data):
    crops, dataset = Crops(Dataset(data["train"]), 10), Dataset(data["train"])
    ids = dataset.ids
    record = dataset[ids[2]]
    sample = crops[2, 5]
    assert sample.sequence == record.sequence[5:15]
    assert torch.equal(sample.coordinates, torch.tensor(record.coordinates[5:15]))
    batch = collate([sample, crops[1, 0]])
    assert batch["ids"] == [ids[2], ids[1]]
    assert batch["mask"].sum(1).tolist() == [10, 9]
    assert batch["coordinates"].shape == (2, 10, 5, 3)
    assert batch["coordinates"][1, 9].isnan().all()
    assert not batch["resolved"][1, 1] and not batch["resolved"][1, 9]


def test_crops_hold_resolved_residues(data):
    chain = next(iter(Dataset(data["train"])))
    length, missing = 120, slice(10, 100)
    resolved = np.ones(length, dtype=bool)
    resolved[missing] = False
    long = replace(chain, sequence="A" * length, coordinates=np.zeros((length, 5, 3), np.float32), mask=resolved)
    crops = Crops(ChainSet({long.id: long}), 30)
    held = {start: crops[0, start].resolved.sum().item() for start in range(91)}
    assert min(held.values()) == 10 == held[50] and held[85] == 15
    starts = [resolved_start(torch.as_tensor(resolved), start, 30) for start in range(91)]
    assert starts == [0] * 41 + [80] * 40 + list(range(81, 91))  # the nearest; where it may stay, it does
    few = torch.zeros(40, dtype=torch.bool)
    few[30:33] = True
    assert resolved_start(few, 0, 8) == 25 and resolved_start(torch.ones(5, dtype=torch.bool), 0, 8) == 0


def test_a_run_sees_every_chain_before_any_again():
    plan = plan_steps([14, 9, 20, 12], steps=4, batch_size=2, crop=10, seed=1)
    assert [len(batch) for batch in plan] == [2, 2, 2, 2]
    for epoch in (plan[:2], plan[2:]):
        assert sorted(index for batch in epoch for index, _ in batch) == [0, 1, 2, 3]
    assert plan == plan_steps([14, 9, 20, 12], steps=4, batch_size=2, crop=10, seed=1)
    assert plan != plan_steps([14, 9, 20, 12], steps=4, batch_size=2, crop=10, seed=2)


def test_the_total_is_the_weighted_sum_of_parts_by_sample(tiny, data):
    crops = Crops(Dataset(data["train"]))
    batch = collate([crops[0, 0], crops[1, 0]])
    parts = loss_parts(fold(tiny, batch, 0), batch, WEIGHTS)
    assert {value.shape for value in parts.values()} == {(2,)}
    expected = parts["fape"] + 0.1 * parts["confidence"] + 0.3 * parts["contact"]
    assert torch.allclose(weighted_sum(parts, WEIGHTS), expected)
    alone = loss_parts(fold(tiny, collate([crops[1, 0]]), 0), collate([crops[1, 0]]), WEIGHTS)
    assert all(torch.allclose(parts[name][1], alone[name][0], atol=1e-4) for name in parts)


def test_the_learning_rate_warms_up():
    assert [warmup_factor(step, 3) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert warmup_factor(0, 0) == 1


def test_a_run_leaves_adapter_history_and_record(run):
    folder = run()
    history, facts = rows(folder), record(folder)
    assert list(history[0]) == HISTORY
    assert [row["step"] for row in history] == ["0", "1", "2", "3", "4", "5"]
    assert [row["step"] for row in history if row["validation_loss"]] == ["0", "2", "4", "5"]
    assert [float(row["learning_rate"]) for row in history[1:4]] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    assert history[0]["loss"] == "" and float(history[5]["gradient_norm"]) > 0
    assert facts["step0_max_difference"] == 0.0
    known = {"arm": "disjoint", "seed": 1, "steps": 5, "kept_step": 5, "chains": 4, "learning_rate": 0.01}
    assert {name: facts[name] for name in known} == known
    assert len(facts["adapted_modules"]) == 35
    assert facts["weights"]["name"] == "tiny" and facts["loaded_keys"]["missing"] == []
    assert len(facts["trained"]) == 2 * 34 + 8  # two matrices a layer; the confidence head's norm and three layers
    assert facts["trainable_parameters"] == sum(facts["trained"].values()) < facts["total_parameters"]
    assert facts["tokens_per_second"] > 0 and facts["peak_memory_mb"] > 0
    assert facts["seconds"] > facts["training_seconds"] + facts["validation_seconds"] > 0
    assert [file.name for file in folder.with_name("run-state").iterdir()] == ["config.json"]


def test_two_runs_of_a_seed_are_equal_and_of_two_seeds_are_not(run):
    first, second, other = run("a", 1), run("b", 1), run("c", 2)
    for file in FILES:
        assert (first / file).read_bytes() == (second / file).read_bytes()
    for file in FILES[:2]:
        assert (first / file).read_bytes() != (other / file).read_bytes()


def test_chains_in_memory_train_as_those_of_a_file(run, data):
    chains = {"train": ChainSet({chain.id: chain for chain in Dataset(data["train"])})}
    assert (run("file") / "history.csv").read_bytes() == (run("memory", chains=chains) / "history.csv").read_bytes()


def test_no_chains_are_an_error(run):
    with pytest.raises(ValueError, match="disjoint: no chains for train"):
        run(chains={"train": ChainSet()})


def test_training_lowers_the_training_loss(run, data):
    chains = {"validation": Dataset(data["train"])}
    history = rows(run(chains=chains, steps=12, crop=20, validate_every=12, learning_rate=0.05))
    assert float(history[-1]["validation_loss"]) < 0.9 * float(history[0]["validation_loss"])


def test_a_loss_that_is_not_finite_stops_and_names_the_chain(run, monkeypatch):
    def spoilt(output, batch, weights):
        parts = loss_parts(output, batch, weights)
        return parts | {"fape": torch.where(torch.tensor([name == "1abc_2" for name in batch["ids"]]), torch.nan, 1.0)}

    monkeypatch.setattr("hardfold.folding.module.loss_parts", spoilt)
    with pytest.raises(NonFiniteLoss, match=r"1abc_2 \(nan\)"):
        run()


def test_an_adapter_that_moves_atoms_before_training_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "step0_difference", lambda before, after: 0.5)
    with pytest.raises(RuntimeError, match=r"moves atoms by up to 0\.5"):
        run()
    assert not (tmp_path / "run/training.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "cosine"},
        {"accumulate_batches": 2},
        {"crop": 16},
        {"precision": "bf16-mixed"},
        {"losses": {"fape_blocks": [1, 0]}},
        {"losses": {"fape_clamped": 1.0}},
        {"adapter": {"layers": ["transition"]}},
        {"adapter": {"mode": "full"}},
        {"adapter": {"dropout": 0.5}},
        {"adapter": {"alpha": 8}},
        {"adapter": {"train_confidence": False}},
    ],
)
def test_no_option_is_ignored(run, change):
    history = [[row["validation_loss"] for row in rows(run(name, steps=3, **options))]
               for name, options in (("a", {}), ("b", change))]  # fmt: skip
    assert history[0] != history[1]


def test_the_learning_rate_falls_as_a_cosine_to_a_tenth(run):
    rates = [float(row["learning_rate"]) for row in rows(run(schedule="cosine", steps=6))[1:]]
    expected = [0.5, 1.0] + [0.1 + 0.45 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx([0.01 * share for share in expected])


def test_the_gradient_of_accumulated_batches_is_their_mean(run, monkeypatch):
    gradients = []

    def watched(optimizer, closure):
        closure()
        gradients.append([p.grad.clone() for group in optimizer.param_groups for p in group["params"]])

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)  # the weights stay as they are
    monkeypatch.setattr(finetuning, "build_trainer", partial(finetuning.build_trainer, gradient_clip=0))
    single = rows(run("single", steps=2))
    double = rows(run("double", steps=1, warmup=0, accumulate_batches=2))
    *parts, mean = gradients
    assert len(parts) == 2 and len(double) == 2
    for first, second, both in zip(*parts, mean, strict=True):
        torch.testing.assert_close(both, (first + second) / 2, rtol=1e-4, atol=1e-7)
    assert float(double[1]["loss"]) == pytest.approx(np.mean([float(row["loss"]) for row in single[1:]]), rel=1e-6)


def test_activation_checkpointing_changes_no_bit(run, monkeypatch):
    plain, blocks = run("plain"), []
    monkeypatch.setattr(finetuning, "checkpoint_blocks", lambda model: blocks.append(checkpoint_blocks(model)))
    spared = run("spared", activation_checkpointing=True)
    assert len(blocks) == 1
    assert (plain / "history.csv").read_bytes() == (spared / "history.csv").read_bytes()


def test_steps_are_bf16_and_validation_is_not(run, monkeypatch):
    seen, parts = set(), module.loss_parts

    def watched(output, batch, weights):
        seen.add((torch.is_grad_enabled(), output.distogram_logits.dtype, output.frames.dtype))
        return parts(output, batch, weights)

    monkeypatch.setattr(module, "loss_parts", watched)
    run(precision="bf16-mixed", steps=2)
    assert seen == {(True, torch.bfloat16, torch.float32), (False, torch.float32, torch.float32)}


def test_whole_chains_alone_are_folded_in_chunks(run, monkeypatch):
    seen, original = set(), module.fold

    def watched(model, batch, recycles, chunk_size=0):
        seen.add((torch.is_grad_enabled(), chunk_size))
        return original(model, batch, recycles, chunk_size)

    monkeypatch.setattr(module, "fold", watched)
    run(steps=2, options={"chunk_size": 5})
    assert seen == {(True, 0), (False, 5)}


@pytest.mark.parametrize("half", [True, False])
def test_the_stem_is_halved_if_asked_for(run, weights, data, tmp_path, monkeypatch, half):
    asked = []
    for where in (finetuning, predict):
        monkeypatch.setattr(where, "place", lambda model, target, half_stem: asked.append(half_stem))
    run(steps=1, warmup=0, options={"half_stem": half})
    fold_targets(weights, data, tmp_path / "p", half_stem=half)
    assert asked == [half, half]


def test_chains_that_do_not_fit_into_memory_are_refused_first(run, weights, data, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda place: 1000)
    monkeypatch.delattr(module, "fold")  # nothing is folded
    with pytest.raises(TooLong, match=r"^1abc_\d \(and 3 more chains\): training on batches of 2 times 10 residues"):
        run()
    monkeypatch.setattr(finetuning, "require_training", lambda *arguments: None)
    with pytest.raises(TooLong, match=r"^2abc_0 \(and 1 more chains\): folding 11 residues"):
        run()
    with pytest.raises(TooLong, match=r"^2abc_0"):
        fold_targets(weights, data, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def scripted(monkeypatch, losses):
    """Let the validation losses of a run be these, in turn."""
    original, waiting = module.validate, iter(losses)
    monkeypatch.setattr(module, "validate", lambda *a, **s: original(*a, **s) | {"validation_loss": next(waiting)})


def test_patience_stops_a_run_and_keeps_its_best_step(run, monkeypatch):
    with monkeypatch.context() as patch:
        scripted(patch, [3.0, 2.0, 1.0, 1.5, 1.0])
        stopped = run("stopped", steps=9, validate_every=1, patience=2)
    assert [row["step"] for row in rows(stopped)] == ["0", "1", "2", "3", "4"]
    facts = record(stopped)
    assert (facts["steps"], facts["kept_step"]) == (4, 2)
    # With a constant rate the first steps of a longer run are those of a shorter one.
    assert (stopped / FILES[1]).read_bytes() == (run("short", steps=2, validate_every=1) / FILES[1]).read_bytes()


def test_step_0_is_kept_if_training_only_does_harm(run, monkeypatch):
    scripted(monkeypatch, [1.0, 2.0, 2.0])
    folder = run(patience=2, steps=9)
    assert record(folder)["kept_step"] == 0 and record(folder)["steps"] == 4
    state = load_file(folder / "adapter/adapter_model.safetensors")
    assert all((tensor == 0).all() for name, tensor in state.items() if ".lora_B." in name)


def test_memorisation_is_never_stopped(run, monkeypatch):
    scripted(monkeypatch, [1.0, 2.0, 2.0, 2.0])
    folder = run(arm="memorisation", patience=1)
    assert record(folder)["kept_step"] == record(folder)["steps"] == 5


LONG = {"steps": 7, "accumulate_batches": 2, "schedule": "cosine", "patience": 9, "adapter": {"dropout": 0.5}}


# Two batches a step and two steps an interval: in the first, between the batches of a step, at a beginning, at the end.
@pytest.mark.parametrize("batch", [3, 6, 9, 14])
def test_a_killed_run_goes_on_to_the_same_result(run, caplog, batch, kill_in_step):
    whole = run("whole", **LONG)
    kill_in_step(FoldingModule, lambda: run("killed", **LONG), batch)
    with caplog.at_level("INFO"):
        killed = run("killed", **LONG)
    assert ("going on from" in caplog.text) == (batch > 4)
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    timing = {"seconds", "training_seconds", "validation_seconds", "peak_memory_mb", "tokens_per_second"}
    first, second = ({key: value for key, value in record(f).items() if key not in timing} for f in (whole, killed))
    assert first == second


@pytest.mark.parametrize("stopped_early", [False, True])
def test_a_run_killed_while_it_writes_its_results_does_not_train_again(run, monkeypatch, stopped_early):
    settings = LONG | ({"patience": 1} if stopped_early else {})
    if stopped_early:
        scripted(monkeypatch, [1.0, 2.0] * 2)
    whole = run("whole", **settings)

    def full_disk(*arguments):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr(finetuning, "save_adapter", full_disk)
        run("killed", **settings)
    monkeypatch.setattr(FoldingModule, "training_step", full_disk)
    killed = run("killed", **settings)
    for name in FILES:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_run_on_other_chains_starts_anew(run, data, caplog, kill_in_step):
    kill_in_step(FoldingModule, lambda: run("killed", **LONG), 9)
    chains = {"train": Dataset(data["validation"])}
    after = run("killed", chains=chains, **LONG)
    assert "is of a run with other data.train: starting anew" in caplog.text
    assert (after / FILES[1]).read_bytes() == (run("fresh", chains=chains, **LONG) / FILES[1]).read_bytes()


def test_step0_difference_is_a_distance():
    first = [np.zeros((2, 5, 3)), np.ones((1, 5, 3))]
    second = [np.zeros((2, 5, 3)), np.ones((1, 5, 3))]
    second[1][0, 2] += [3, 4, 0]
    second[0][1] = first[0][1] = np.nan
    assert step0_difference(first, second) == 5


def test_validation_scores_whole_chains(tiny, data):
    figures = validate(tiny, Crops(Dataset(data["validation"])), WEIGHTS, 0)
    expected = figures["validation_fape"] + 0.1 * figures["validation_confidence"] + 0.3 * figures["validation_contact"]
    assert figures["validation_loss"] == pytest.approx(expected, rel=1e-5)
    assert 0 < figures["validation_tm"] < 1 and 0 <= figures["validation_lddt"] <= 1


@pytest.mark.parametrize(
    ("losses", "met", "value"),
    [
        ({0: 9.0, 10: 5.0, 20: 2.0, 30: 2.01}, True, 0.01 / 2.005),
        ({0: 9.0, 10: 5.0, 20: 2.0, 30: 1.0}, False, 1 / 1.5),
        ({0: 9.0, 30: 1.0}, False, None),
    ],
)
def test_convergence_is_a_flat_last_third(losses, met, value):
    result = convergence(losses)
    assert result["met"] is met
    assert result["value"] == (None if value is None else pytest.approx(value))
    assert "1%" in result["criterion"]


def fold_targets(weights, data, folder, *adapters, half_stem=False):
    predict_structures(
        weights=weights, targets=data["validation"], adapters=adapters, folds=None, output=folder / "predictions.tsv",
        recycles=1, chunk_size=0, half_stem=half_stem, threads=1,
    )  # fmt: skip


def test_predictions_are_files_and_a_table(run, weights, data, tmp_path):
    trained = run() / "adapter"
    for name, adapters in (("base", []), ("adapted", [trained]), ("again", [trained])):
        fold_targets(weights, data, tmp_path / name, *adapters)
    lines = (tmp_path / "adapted" / "predictions.tsv").read_text().splitlines()
    assert lines[0] == "target\tfile\tresidues\tplddt"
    assert [line.split("\t")[:3] for line in lines[1:]] == [
        ["2abc_0", "2abc_0.cif", "11"],
        ["2abc_1", "2abc_1.cif", "8"],
    ]
    record, chain = Dataset(data["validation"])["2abc_0"], read_model(tmp_path / "adapted" / "2abc_0.cif")
    assert chain.sequence == record.sequence
    assert chain.mask.all()  # unresolved in the native, or of unknown type: predicted all the same
    adapted, again, base = ((tmp_path / name / "2abc_0.cif").read_bytes() for name in ("adapted", "again", "base"))
    assert adapted == again != base

"""The folding recipe: a frozen stem, a curriculum, averaged weights, and a file that the workflow loads."""

import csv
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hardfold import backbones, distributed
from hardfold.alignment import log_odds
from hardfold.distributed import RankError, launch
from hardfold.folding import model as folding_model
from hardfold.folding.alignment import AlignmentAdapter
from hardfold.folding.model import build_model, load_model, save_model, tiny_config
from hardfold.folding.module import HISTORY, ChainSet, Crops, FoldingModule, validate
from hardfold.pretraining.features import NoFeatures, PackedFeatures
from hardfold.pretraining.folding import PretrainingModule, nearest_training, plan_stage, stage_at, train_folding_model
from hardfold.pretraining.packing import load_profiles, load_stretches
from hardfold.pretraining.publish import publish
from hardfold.structure.chain import Chain
from hardfold.training import History, trained_state

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@pytest.fixture
def settings(tiny):
    stages = [
        {"steps": 2, "crop": 16, "batch": 2, "fape_clamped": 0.0, "aligned": False},
        {"steps": 2, "crop": 20, "batch": 1, "fape_clamped": 0.9, "aligned": False},
    ]
    small = {"trunk": tiny_config().esmfold_config.trunk.to_dict(), "confidence_width": 8, "stages": stages}
    return tiny["esmfold_tiny_hardfold"] | small | {"warmup": 1, "validate_every": 2, "validation_chains": 2}


def train(data, folder, settings, run="run", alignments=None, ranks=1):
    torch.manual_seed(0)
    stem = backbones.build_esm2(1, 8, 2)[0]
    backbones.save(stem, folder / "esm2_t1_tiny.pt")
    inputs = {"data": data, "stem": folder / "esm2_t1_tiny.pt", "alignments": alignments}
    outputs = {"folder": folder / run, "state": folder / f"{run}_state", "name": "esmfold_tiny"}
    launch(ranks, train_folding_model, **inputs, **outputs, settings=settings, seed=1, threads=1)
    return stem


def test_model_is_trained_on_the_frozen_stem_and_loads(data, tmp_path, settings):
    stem = train(data, tmp_path, settings)
    model, report = load_model(tmp_path / "run")
    assert report["unexpected"] == []
    for name, tensor in backbones.to_transformers(stem.state_dict()).items():
        if name.startswith("esm."):
            stored = model.esm.state_dict()[name.removeprefix("esm.")]
            assert torch.equal(stored, tensor.half().float()), name
    training = json.loads((tmp_path / "run/training.json").read_text())
    assert training["records"] == {"train": 6, "validation": 2}
    assert 0.1 < training["random_walk_tm"] < 0.25
    chains = [ChainSet(load_stretches(data, group)) for group in ("validation", "train")]
    chosen = ChainSet({id: chains[0][id] for id in chains[0].ids[:2]})
    assert training.items() >= nearest_training(chosen, chains[1], threads=1).items()
    assert training["parameters"]["trainable"] < training["parameters"]["total"]


def test_the_nearest_training_chain_is_copied_and_a_lonely_chain_counts_as_zero(data):
    known = load_stretches(data, "train")
    id = min(known)
    lonely = Chain.from_atoms("lonely", "W" * 40, np.full((40, 5, 3), 1.0, np.float32) * np.arange(40)[:, None, None])
    found = nearest_training(ChainSet({"copy": known[id], "lonely": lonely}), ChainSet(known), threads=1)
    assert found["nearest_training_found"] == 1
    assert found["nearest_training_tm"] == pytest.approx(0.5, abs=0.01)


class Killed(Exception):
    pass


no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that knows of a GPU cannot be forked")


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=no_gpu)])
def test_a_killed_run_goes_on_to_the_same_bytes(data, alignments, tmp_path, settings, monkeypatch, ranks):
    train(data, tmp_path, settings, "whole", alignments, ranks)
    step = PretrainingModule.training_step

    def die(self, batch, index):
        if self.global_step == 3:
            raise Killed
        return step(self, batch, index)

    monkeypatch.setattr(PretrainingModule, "training_step", die)
    with pytest.raises(Killed if ranks == 1 else RankError):
        train(data, tmp_path, settings, "killed", alignments, ranks)
    monkeypatch.undo()
    train(data, tmp_path, settings, "killed", alignments, ranks)
    for name in ("model.safetensors", "alignment.safetensors", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@no_gpu
def test_two_processes_take_the_steps_of_one(data, alignments, tmp_path, settings, monkeypatch):
    replace = os.replace

    def watched(*paths):
        (tmp_path / f"rank{distributed.rank()}").touch()
        return replace(*paths)

    monkeypatch.setattr(os, "replace", watched)
    histories, settings["read_alignments"] = [], 1  # which are read is drawn by each process
    settings["stages"][0]["batch"] = 3  # one process has two crops, and in the next stage one has none
    for ranks in (1, 2):
        train(data, tmp_path, settings, str(ranks), alignments, ranks)
        rows = (tmp_path / str(ranks) / "history.csv").read_text().splitlines()[1:]
        histories.append([[float(value or 0) for value in row.split(",")] for row in rows])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    assert (tmp_path / "rank0").exists() and not (tmp_path / "rank1").exists()  # rank zero alone writes
    residues = [json.loads((tmp_path / ranks / "training.json").read_text())["residues"] for ranks in "12"]
    assert residues[0] == residues[1] > 0


def test_a_model_that_reads_alignments_folds_with_and_without_them(data, alignments, tmp_path, settings):
    train(data, tmp_path, settings, alignments=alignments)
    model, report = load_model(tmp_path / "run")
    assert report["unexpected"] == []
    chains = ChainSet(load_stretches(data, "validation"))
    training = json.loads((tmp_path / "run/training.json").read_text())
    weights = {name: settings[name] for name in ("fape", "confidence", "contact")}
    weights |= {"fape_clamped": 0.9, "fape_blocks": ()}

    def loss(features):
        crops = Crops(ChainSet({id: chains[id] for id in chains.ids[:2]}), alignments=features)
        return validate(model, crops, weights, settings["recycles"])["validation_loss"]

    assert loss(None) == pytest.approx(training["validation_loss"], abs=1e-3)  # rounded to fp16
    state = load_file(tmp_path / "run/alignment.safetensors")
    AlignmentAdapter(model, 0).load_state_dict(state)
    assert state["profile.weight"].any() and state["couplings.weight"].any()
    assert loss(NoFeatures()) == pytest.approx(training["validation_loss"], abs=1e-3)
    read = loss(PackedFeatures(data, alignments, "validation"))
    assert read == pytest.approx(training["validation_loss_aligned"], abs=1e-3)
    assert training["validation_loss_aligned"] != training["validation_loss"]


def test_features_of_a_crop_are_those_of_its_residues(data, alignments):
    features, chains = PackedFeatures(data, alignments, "train"), load_stretches(data, "train")
    aligned, single = sorted(features.aligned)[0], (set(chains) - features.aligned).pop()
    for id in (aligned, single):
        shares = np.pad(load_profiles(data, "train")[id], ((0, 0), (0, 1)))
        profile, couplings = features.read(id, 3, 40)
        assert np.array_equal(profile, log_odds(shares)[3:40])
        letters = [LETTERS.index(letter) for letter in chains[id].sequence[3:40]]
        assert profile[:, :20].argmax(1).tolist() == letters and not profile[:, 20].any()
        assert couplings.shape == (37, 37) and couplings.any() == (id == aligned)
    assert torch.equal(features.read(aligned, 3, 40)[1], features.read(aligned, 0, 60)[1][3:40, 3:40])


@pytest.mark.parametrize(("share", "shown"), [(0, 0), (1, 8)])
def test_so_many_crops_of_a_batch_show_their_alignment(tmp_path, settings, monkeypatch, share, shown):
    module = bare_module(tmp_path, settings | {"read_alignments": share})
    seen = []
    monkeypatch.setattr(FoldingModule, "training_step", lambda self, batch, _: seen.append(batch))
    monkeypatch.setattr(PretrainingModule, "global_step", 0)
    module.training_step({"ids": "abcdefgh", "profile": torch.ones(8, 5, 21), "couplings": torch.ones(8, 5, 5)}, 0)
    for name in ("profile", "couplings"):
        assert seen[0][name].flatten(1).any(1).sum() == shown


def test_an_aligned_stage_takes_aligned_chains_alone(data, alignments, settings):
    crops = Crops(ChainSet(load_stretches(data, "train")), 16, PackedFeatures(data, alignments, "train"))
    for aligned, count in ((True, 4), (False, 6)):
        plan = plan_stage(crops, {"steps": 20, "batch": 2, "crop": 16, "aligned": aligned}, 1)
        assert len(plan) == 20
        found = {crops.chains[index].id for batch in plan for index, _ in batch}
        assert len(found) == count and (not aligned or found == crops.alignments.aligned)


def test_what_is_kept_is_the_average(data, tmp_path, settings, monkeypatch):
    weights, kept, end = [], {}, PretrainingModule.on_train_batch_end
    monkeypatch.setattr(
        PretrainingModule,
        "on_train_batch_end",
        lambda self, *batch: (weights.append(trained_state(self.model)), end(self, *batch)),
    )
    monkeypatch.setattr(
        "hardfold.pretraining.folding.save_model", lambda model, *_, **__: kept.update(trained_state(model))
    )
    begin = PretrainingModule.__init__

    def remember(self, model, *given, **settings):
        weights.append(trained_state(model))
        begin(self, model, *given, **settings)

    monkeypatch.setattr(PretrainingModule, "__init__", remember)
    train(data, tmp_path, settings | {"average": 0.25})
    start, *steps = weights
    assert len(steps) == 4
    for name, average in start.items():
        for step, value in enumerate((state[name] for state in steps), start=1):
            decay = min(0.25, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * value
        assert torch.allclose(kept[name], average, atol=1e-6), name


@no_gpu
def test_bf16_and_blocks_computed_again_in_two_processes(data, tmp_path, settings):
    settings |= {"precision": "bf16-mixed", "activation_checkpointing": True}
    train(data, tmp_path, settings, ranks=2)
    exact = settings | {"precision": "32-true", "activation_checkpointing": False}
    train(data, tmp_path, exact, "exact", ranks=2)
    losses = []
    for run in ("run", "exact"):
        rows = csv.DictReader((tmp_path / run / "history.csv").open())
        losses.append([float(row["loss"]) for row in rows if row["loss"]])
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_published_folder_has_card_and_checksums(data, alignments, tmp_path, settings):
    train(data, tmp_path, settings, alignments=alignments)
    sets = tmp_path / "sets.tsv"
    sets.write_text("set\tsequences\tleft_out\nembedded hold-outs\t131\t7\nCASP13/14\t0\t0\n")
    limits = {"max_evalue": 0.01, "min_identity": 0.3, "profile_iterations": 3}
    (tmp_path / "run/.snakemake_timestamp").touch()
    publish("esmfold_tiny", tmp_path / "run", sets, tmp_path / "out", preset="tiny", **limits)
    card = (tmp_path / "out/README.md").read_text()
    assert "| embedded hold-outs | 131 | 7 |" in card and "<= 0.01" in card and "Do not use it" in card
    assert "**Not excluded: CASP13/14.**" in card and "| stages 2 | steps 2, crop 20" in card
    training = json.loads((tmp_path / "run/training.json").read_text())
    assert f"| the sequence | {training['validation_tm']:.3f} |" in card
    assert f"(`alignment.safetensors`) | {training['validation_tm_aligned']:.3f} |" in card
    (tmp_path / "out/model-00001-of-00002.safetensors").touch()  # of an earlier model
    listed = {line.split()[1] for line in (tmp_path / "out/SHA256SUMS").read_text().splitlines()}
    weights = {"config.json", "model.safetensors", "alignment.safetensors"}
    assert listed == weights | {"history.csv", "training.json"}
    sets.write_text("set\tsequences\tleft_out\nembedded hold-outs\t131\t7\nCASP13/14\t68\t3\n")
    publish("esmfold_tiny", tmp_path / "run", sets, tmp_path / "out", preset="tiny", **limits)
    assert "Not excluded" not in (tmp_path / "out/README.md").read_text()
    assert not (tmp_path / "out/model-00001-of-00002.safetensors").exists()


def bare_module(folder, settings):
    """A module without a model, on two chains of 40 residues."""
    chain = SimpleNamespace(sequence="ACDE" * 10, coordinates=np.zeros((40, 5, 3)), mask=np.ones(40, bool))
    crops = Crops(ChainSet({"1abc_A": chain, "1abd_A": chain}), settings["stages"][0]["crop"])
    history = History(folder / "history.csv", HISTORY)
    return PretrainingModule(torch.nn.Linear(1, 1), crops, crops, history, settings=settings, seed=1, aligned=crops)


def test_crops_and_clamped_fape_follow_the_stages(tmp_path, settings, monkeypatch):
    module = bare_module(tmp_path, settings)
    seen = []
    monkeypatch.setattr(
        "hardfold.folding.module.FoldingModule.training_step",
        lambda self, *_: seen.append(self.weights["fape_clamped"]),
    )
    shapes = []
    for step in range(4):
        monkeypatch.setattr(PretrainingModule, "global_step", step)
        module.training_step({"ids": [], "profile": torch.zeros(0, 1, 1), "couplings": torch.zeros(0, 1, 1)}, 0)
        if step % settings["validate_every"] == 0:
            shapes += [tuple(batch["mask"].shape) for batch in module.train_dataloader()]
    assert seen == [0.0, 0.0, 0.9, 0.9]
    assert shapes == [(2, 16), (2, 16), (1, 20), (1, 20)]
    assert stage_at(settings["stages"], 99) == settings["stages"][-1]


def test_large_weights_are_written_in_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(folding_model, "SHARD_BYTES", 30_000)
    torch.manual_seed(0)
    model = build_model(tiny_config())
    save_model(model, tmp_path, half=True)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 1 and not (tmp_path / "model.safetensors").exists()
    loaded, report = load_model(tmp_path)
    assert report["missing"] == report["unexpected"] == []
    state = loaded.state_dict()
    halved = [
        name for name, value in model.state_dict().items() if value.is_floating_point() and "inv_freq" not in name
    ]
    assert all(torch.equal(model.state_dict()[name].half().float(), state[name]) for name in halved)

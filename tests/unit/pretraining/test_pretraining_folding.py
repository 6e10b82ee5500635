"""The folding recipe: a frozen stem, a curriculum, averaged weights, and a file that the workflow loads."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hardfold import backbones
from hardfold.folding import model as folding_model
from hardfold.folding.model import build_model, load_model, save_model, tiny_config
from hardfold.folding.module import HISTORY, ChainSet, Crops
from hardfold.pretraining.folding import PretrainingModule, stage_at, train_folding_model
from hardfold.pretraining.publish import publish
from hardfold.training import History


@pytest.fixture
def settings(tiny):
    stages = [
        {"steps": 2, "crop": 16, "batch": 2, "fape_clamped": 0.0},
        {"steps": 2, "crop": 20, "batch": 1, "fape_clamped": 0.9},
    ]
    small = {"trunk": tiny_config().esmfold_config.trunk.to_dict(), "confidence_width": 8, "stages": stages}
    return tiny["esmfold_tiny_hardfold"] | small | {"warmup": 1, "validate_every": 2, "validation_chains": 2}


def train(data, folder, settings, run="run"):
    torch.manual_seed(0)
    stem = backbones.build_esm2(1, 8, 2)[0]
    backbones.save(stem, folder / "esm2_t1_tiny.pt")
    common = (folder / run, folder / f"{run}_state", "esmfold_tiny", settings)
    train_folding_model(data, folder / "esm2_t1_tiny.pt", *common, seed=1, threads=1)
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
    assert training["parameters"]["trainable"] < training["parameters"]["total"]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bytes(data, tmp_path, settings, monkeypatch):
    train(data, tmp_path, settings, "whole")
    step = PretrainingModule.training_step

    def die(self, batch, index):
        if self.global_step == 3:
            raise Killed
        return step(self, batch, index)

    monkeypatch.setattr(PretrainingModule, "training_step", die)
    with pytest.raises(Killed):
        train(data, tmp_path, settings, "killed")
    monkeypatch.undo()
    train(data, tmp_path, settings, "killed")
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_is_kept_is_the_average(data, tmp_path, settings):
    train(data, tmp_path, settings, "slow")
    train(data, tmp_path, settings | {"average": 0.0}, "last")
    kept = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("slow", "last")]
    assert kept[0] != kept[1]


def test_published_folder_has_card_and_checksums(data, tmp_path, settings):
    train(data, tmp_path, settings)
    sets = tmp_path / "sets.tsv"
    sets.write_text("set\tsequences\tleft_out\nembedded hold-outs\t131\t7\nCASP13/14\t0\t0\n")
    limits = {"max_evalue": 0.01, "min_identity": 0.3, "profile_iterations": 3}
    publish("esmfold_tiny", tmp_path / "run", sets, tmp_path / "out", preset="tiny", **limits)
    card = (tmp_path / "out/README.md").read_text()
    assert "| embedded hold-outs | 131 | 7 |" in card and "<= 0.01" in card and "Do not use it" in card
    assert "**Not excluded: CASP13/14.**" in card and "| stages 2 | steps 2, crop 20" in card
    listed = {line.split()[1] for line in (tmp_path / "out/SHA256SUMS").read_text().splitlines()}
    assert listed == {"config.json", "model.safetensors", "history.csv", "training.json"}
    sets.write_text("set\tsequences\tleft_out\nembedded hold-outs\t131\t7\nCASP13/14\t68\t3\n")
    publish("esmfold_tiny", tmp_path / "run", sets, tmp_path / "out", preset="tiny", **limits)
    assert "Not excluded" not in (tmp_path / "out/README.md").read_text()


def test_crops_and_clamped_fape_follow_the_stages(tmp_path, settings, monkeypatch):
    chain = SimpleNamespace(sequence="ACDE" * 10, coordinates=np.zeros((40, 5, 3)), mask=np.ones(40, bool))
    crops = Crops(ChainSet({"1abc_A": chain, "1abd_A": chain}), settings["stages"][0]["crop"])
    history = History(tmp_path / "history.csv", HISTORY)
    module = PretrainingModule(torch.nn.Linear(1, 1), crops, crops, history, settings=settings, seed=1)
    seen = []
    monkeypatch.setattr(
        "hardfold.folding.module.FoldingModule.training_step",
        lambda self, *_: seen.append(self.weights["fape_clamped"]),
    )
    shapes = []
    for step in range(4):
        monkeypatch.setattr(PretrainingModule, "global_step", step)
        module.training_step(None, 0)
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

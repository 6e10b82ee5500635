"""The folding recipe: the stem is the language model's, frozen, and the file loads as the workflow loads it."""

import json
from types import SimpleNamespace

import numpy as np
import torch

from hardfold import backbones
from hardfold.folding.model import load_model, tiny_config
from hardfold.folding.module import HISTORY, ChainSet, Crops
from hardfold.pretraining.folding import PretrainingModule, train_folding_model
from hardfold.pretraining.publish import publish
from hardfold.training import History

SETTINGS = {
    "kind": "folding", "trunk": tiny_config().esmfold_config.trunk.to_dict(), "confidence_width": 8, "crop": 20,
    "batch": 2, "steps": 3, "warmup": 1, "learning_rate": 0.01, "validate_every": 2, "validation_chains": 2,
    "clamp_from": 2, "recycles": 0, "fape": 1.0, "fape_clamped": 0.5, "confidence": 0.01, "contact": 0.3,
}  # fmt: skip


def train(data, folder):
    torch.manual_seed(0)
    stem = backbones.build_esm2(1, 8, 2)[0]
    backbones.save(stem, folder / "esm2_t1_tiny.pt")
    train_folding_model(data, folder / "esm2_t1_tiny.pt", folder / "run", "esmfold_tiny", SETTINGS, seed=1, threads=1)
    return stem


def test_model_is_trained_on_the_frozen_stem_and_loads(data, tmp_path):
    stem = train(data, tmp_path)
    model, report = load_model(tmp_path / "run")
    assert report["unexpected"] == []
    for name, tensor in backbones.to_transformers(stem.state_dict()).items():
        if name.startswith("esm."):
            stored = model.esm.state_dict()[name.removeprefix("esm.")]
            assert torch.equal(stored, tensor.half().float()), name
    training = json.loads((tmp_path / "run/training.json").read_text())
    assert training["records"] == {"train": 6, "validation": 2}
    assert training["parameters"]["trainable"] < training["parameters"]["total"]


def test_published_folder_has_card_and_checksums(data, tmp_path):
    train(data, tmp_path)
    audit = tmp_path / "left_out.tsv"
    audit.write_text("record\tnear\nsequence:A\tholdout:x\nsequence:A\tholdout:y\nchain:b\tholdout:x\n")
    publish("esmfold_tiny", tmp_path / "run", audit, tmp_path / "out", max_evalue=0.01, min_identity=0.3)
    card = (tmp_path / "out/README.md").read_text()
    assert "(2 records)" in card and "e-value <= 0.01" in card and "Do not use it" in card
    listed = {line.split()[1] for line in (tmp_path / "out/SHA256SUMS").read_text().splitlines()}
    assert listed == {"config.json", "model.safetensors", "history.csv", "training.json"}


def test_fape_is_clamped_from_the_given_step_on(tmp_path, monkeypatch):
    chain = SimpleNamespace(sequence="ACDE", coordinates=np.zeros((4, 5, 3)), mask=np.ones(4, bool))
    crops = Crops(ChainSet({"1abc_A": chain}), SETTINGS["crop"])
    history = History(tmp_path / "history.csv", HISTORY)
    module = PretrainingModule(torch.nn.Linear(1, 1), crops, crops, history, settings=SETTINGS, seed=1)
    seen = []
    monkeypatch.setattr(
        "hardfold.folding.module.FoldingModule.training_step",
        lambda self, *_: seen.append(self.weights["fape_clamped"]),
    )
    for step in (0, 1, 2, 3):
        monkeypatch.setattr(PretrainingModule, "global_step", step)
        module.training_step(None, 0)
    assert seen == [0.0, 0.0, 0.5, 0.5]

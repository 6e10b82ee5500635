"""The training of one experiment, from official weight files to a model that is read back."""

import csv
import json
import shutil

import pytest
import torch
from safetensors import safe_open

from hardfold.contact.experiment import load_experiment
from hardfold.contact.model import ContactModel
from hardfold.contact.train import train_experiment
from hardfold.dataset import Dataset
from hardfold.training import NonFiniteLoss


def embeddings_of(chain_files):
    return chain_files["train"].parent / "embeddings"


def train(output, options, weight_folders, chain_files, seed=1):
    train_experiment(
        experiment="exp", options=options, seed=seed, threads=1, output=output, **weight_folders,
        train=chain_files["train"], validation=chain_files["validation"], embeddings=embeddings_of(chain_files),
        state=output / "state",
    )  # fmt: skip
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory, default_options, weight_folders, chain_files):
    return train(tmp_path_factory.mktemp("exp"), default_options, weight_folders, chain_files)


def test_history_and_training_record(trained):
    rows = list(csv.DictReader((trained / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(value for row in rows for value in row.values())
    record = json.loads((trained / "training.json").read_text())
    assert record["epochs"] == 2 and record["steps"] == 2 * 3
    assert record["parameters"]["trainable"] < record["parameters"]["total"]
    assert record["weights"]["esm2"]["name"] == "esm2_t2_tiny" and record["loaded_keys"]["esm_msa"] > 0
    best = max(rows, key=lambda row: float(row["validation_roc_auc"]))
    assert record["best_epoch"] == int(best["epoch"])


def test_the_checkpoint_holds_no_frozen_weight(trained):
    with safe_open(trained / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert not any(name.startswith(("esm_msa.", "esm2.model.layers.0.")) for name in names)
    assert any(name.startswith("esm2.model.layers.1.") for name in names)


def test_the_same_seed_repeats_bit_for_bit_and_another_does_not(
    trained, options, weight_folders, chain_files, tmp_path
):
    again = train(tmp_path / "again", options, weight_folders, chain_files)
    other = train(tmp_path / "other", options, weight_folders, chain_files, seed=2)
    for name in ("history.csv", "model.safetensors", "config.json"):
        assert (again / name).read_bytes() == (trained / name).read_bytes()
        assert (other / name).read_bytes() != (trained / name).read_bytes()


def test_the_model_read_back_is_the_one_of_the_best_epoch(trained, weight_folders):
    model, config = load_experiment(trained, **weight_folders)
    with safe_open(trained / "model.safetensors", "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name in state)
        if name in state:
            assert torch.equal(parameter, state[name])
    assert config["experiment"] == "exp" and not model.training


def test_other_backbones_than_those_trained_on_are_refused(trained, weight_folders, tmp_path):
    shutil.copytree(trained, tmp_path / "exp")
    config = json.loads((tmp_path / "exp" / "config.json").read_text())
    config["weights"]["esm2"]["files"]["esm2_t2_tiny.pt"] = "0" * 64
    (tmp_path / "exp" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="other weights of esm2_t2_tiny"):
        load_experiment(tmp_path / "exp", **weight_folders)


def test_a_task_that_is_off_leaves_its_fields_empty(options, weight_folders, chain_files, tmp_path):
    options |= {"use_distance": False, "use_angle": False, "use_msa": False, "num_epochs": 1}
    folder = train(tmp_path / "exp", options, {**weight_folders, "esm_msa": None}, chain_files)
    (row,) = csv.DictReader((folder / "history.csv").read_text().splitlines())
    assert row["train_distance"] == row["validation_angle"] == "" and row["train_contact"]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_chain(
    options, weight_folders, chain_files, tmp_path, monkeypatch
):
    name, forward = Dataset(chain_files["train"]).ids[2], ContactModel.forward

    def broken(model, batch):
        outputs = forward(model, batch)
        if name in batch["ids"]:
            outputs["distance"][batch["ids"].index(name)] = torch.nan
        return outputs

    monkeypatch.setattr(ContactModel, "forward", broken)
    with pytest.raises(NonFiniteLoss, match=rf"for {name} \(nan\) of"):
        train(tmp_path / "exp", options, weight_folders, chain_files)
    assert not (tmp_path / "exp" / "model.safetensors").exists()

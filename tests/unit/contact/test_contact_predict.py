"""What predictions.h5 holds, and that it is what the trained model says of whole chains."""

import h5py
import numpy as np
import pytest
from made_up_maps import write_dataset

from hardfold.contact.experiment import load_experiment
from hardfold.contact.predict import predict, predict_experiment
from hardfold.contact.samples import Samples
from hardfold.contact.train import train_experiment
from hardfold.dataset import Dataset

HELD_OUT = ("validation", "test", "target")


@pytest.fixture
def predicted(options, weight_folders, chain_files, tmp_path):
    """Train an experiment with these changes and predict the chains of HELD_OUT: (its folder, its backbones)."""

    def run(chains=None, **changes):
        own = {**options, "num_epochs": 1, **changes}
        backbones = {**weight_folders, "esm_msa": weight_folders["esm_msa"] if own["use_msa"] else None}
        embeddings = chain_files["train"].parent / "embeddings"
        train_experiment(
            experiment="exp", options=own, seed=1, threads=1, **backbones, train=chain_files["train"],
            validation=chain_files["validation"], embeddings=embeddings, state=tmp_path / "state", output=tmp_path,
        )  # fmt: skip
        predict_experiment(
            folder=tmp_path, **backbones, embeddings=embeddings, output=tmp_path / "predictions.h5", threads=1,
            chains=chains or {split: chain_files[split] for split in HELD_OUT},
        )  # fmt: skip
        return tmp_path, backbones

    return run


def test_every_held_out_chain_is_predicted_and_knows_its_split(predicted, chain_files, options):
    folder, backbones = predicted()
    model, _ = load_experiment(folder, **backbones)
    samples = Samples(chain_files["target"], model, chain_files["train"].parent / "embeddings")
    with h5py.File(folder / "predictions.h5") as file:
        assert dict(file.attrs) == {"experiment": "exp", "min_separation": 6, "max_distance": options["max_distance"]}
        for split in HELD_OUT:
            chains = Dataset(chain_files[split])
            assert sorted(id for id in file if file[id].attrs["split"] == split) == chains.ids
            for id, length in zip(chains.ids, chains.lengths(), strict=True):
                group = file[id]
                assert group["contact_probability"].dtype == group["distance"].dtype == np.float16
                assert group["contact_probability"].shape == group["distance"].shape == (length, length)
                assert group["angles"].shape == (length, 2) and group["angles"].dtype == np.float32
        for id, expected in predict(model, samples):
            for name, values in expected.items():
                assert np.array_equal(file[id][name][()], values, equal_nan=True)


def test_a_task_that_is_off_is_not_predicted(predicted):
    folder, _ = predicted(use_distance=False, use_angle=False, use_msa=False)
    with h5py.File(folder / "predictions.h5") as file:
        assert all(list(group) == ["contact_probability"] for group in file.values())
        assert "max_distance" not in file.attrs


def test_a_split_without_chains_is_passed_over(predicted, chain_files, tmp_path):
    empty = write_dataset(tmp_path / "target.h5", {})
    folder, _ = predicted({"test": chain_files["test"], "target": empty})
    with h5py.File(folder / "predictions.h5") as file:
        assert sorted(file) == Dataset(chain_files["test"]).ids

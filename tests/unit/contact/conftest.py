import h5py
import numpy as np
import pytest
import torch

from hardfold import backbones, dataset, geometry
from hardfold.contact.columns import describe_columns
from hardfold.contact.embed import embed, embed_chains
from hardfold.contact.keys import embedding_entries
from hardfold.contact.samples import Samples
from hardfold.contact.train import train_experiment
from hardfold.fetch import fetch
from hardfold.nodes import launch

OPTIONS = {
    "esm2_name": "esm2_t2_tiny",
    "esm_msa_name": "esm_msa1b_t2_tiny",
    "use_msa": True,
    "num_msa_rows": 3,
    "main_task": "contact",
    "use_contact": True,
    "use_distance": True,
    "use_angle": True,
    "contact_loss_type": "bce",
    "distance_loss_type": "mse",
    "angle_loss_type": "mse",
    "contact_loss_weight": 1.0,
    "distance_loss_weight": 0.2,
    "angle_loss_weight": 0.2,
    "positive_weight": 5.0,
    "focal_gamma": 2.0,
    "focal_alpha": 0.25,
    "num_layers_to_freeze_esm2": 1,
    "num_layers_to_freeze_msa": 2,
    "lora_rank_esm2": 0,
    "lora_rank_msa": 0,
    "lora_alpha": 16,
    "use_esm2_attention": False,
    "use_msa_attention": False,
    "use_couplings": False,
    "fusion_dim": 8,
    "fusion_num_layers": 1,
    "fusion_num_heads": 2,
    "max_length": 24,
    "train_mode": "random_crop",
    "val_mode": "sliding_window",
    "sliding_window_step": 10,
    "max_distance": 20.0,
    "num_distance_bins": 10,
    "num_angle_bins": 6,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "use_scheduler": False,
    "t_0": 10,
    "t_mult": 1,
    "eta_min": 0.0,
    "num_epochs": 2,
    "batch_size": 3,
    "val_batch_size": 3,
    "max_tokens_per_batch": 72,
    "num_workers": 0,
    "devices": 1,
    "nodes": 1,
    "precision": "32-true",
    "accumulate_batches": 1,
    "gradient_clip": 1.0,
    "overfit_one_batch": False,
    "checkpoint_path_to_load": "",
    "checkpoints_metric": "validation_roc_auc",
    "maximize_metric": True,
    "save_best_k_checkpoints": 1,
}


@pytest.fixture(scope="session")
def default_options():
    return OPTIONS


@pytest.fixture
def options():
    return dict(OPTIONS)


@pytest.fixture(scope="session")
def weight_folders(tmp_path_factory):
    """Tiny random backbones in the official layout, fetched as the workflow does."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, build in (("esm2_t2_tiny", backbones.build_esm2), ("esm_msa1b_t2_tiny", backbones.build_esm_msa)):
        model, _ = build(2, 8, 2)
        backbones.save(model, folder / "models" / name / f"{name}.pt")
        fetch(
            name, folder=folder / "models", cache=folder / "cache", archive="https://archive.example", offline=True,
            output=folder / name,
        )  # fmt: skip
    return {"esm2": folder / "esm2_t2_tiny", "esm_msa": folder / "esm_msa1b_t2_tiny"}


def write_chains(path, count, seed):
    """Compact random walks with alignments of 1 to 5 rows, in the layout of the contract; one residue is unresolved."""
    generator = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.attrs["format_version"] = dataset.FORMAT_VERSION
        for number in range(count):
            length = int(generator.integers(18, 40))
            sequence = "".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWY"), length))
            alpha = np.cumsum(generator.normal(size=(length, 3)), axis=0)
            coordinates = (alpha[:, None] + generator.normal(size=(length, 5, 3))).astype(np.float32)
            coordinates[3] = np.nan
            distances = geometry.distance_map(coordinates, sequence)
            rows = generator.choice(np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY-", np.uint8), (1 + number % 5, length))
            rows[0] = np.frombuffer(sequence.encode(), np.uint8)
            group = file.create_group(f"chains/{seed}abc_{number}")
            group["sequence"], group["msa"] = sequence, rows
            group["coordinates"], group["mask"] = coordinates, geometry.resolved(coordinates)
            group["contact_map"], group["distance_map"] = geometry.contact_map(distances), distances
            group["angle_map"] = generator.uniform(-np.pi, np.pi, (length, 2)).astype(np.float32)
    return path


@pytest.fixture(scope="session")
def chain_files(tmp_path_factory, weight_folders):
    """A file a split, and in `embeddings` beside them what the rule embed_chains makes for the default options."""
    folder = tmp_path_factory.mktemp("dataset")
    sizes = {"train": 7, "validation": 3, "test": 4, "target": 2}
    files = {name: write_chains(folder / f"{name}.h5", size, seed) for seed, (name, size) in enumerate(sizes.items())}
    for embedding in embedding_entries(OPTIONS).values():
        outputs = {split: folder / "embeddings" / embedding["key"] / chains.name for split, chains in files.items()}
        embed_chains(
            embedding=embedding, weights=weight_folders[embedding["encoder"]], chains=files, outputs=outputs, threads=1
        )
    return files


@pytest.fixture
def run(options, weight_folders, chain_files, tmp_path):
    """Train into tmp_path/<name>; its state lies in tmp_path/<state or name>-state."""

    def run(name="exp", state=None, **changes):
        given = {**options, **changes}
        launch(
            given["nodes"], given["devices"], train_experiment, experiment="exp", options=given, seed=1, threads=1,
            **weight_folders, train=chain_files["train"], validation=chain_files["validation"],
            embeddings=chain_files["train"].parent / "embeddings",
            state=tmp_path / f"{state or name}-state", output=tmp_path / name,
        )  # fmt: skip
        return tmp_path / name

    return run


@pytest.fixture(scope="session")
def build_samples():
    """(chains, model, folder) -> Samples, once the model's frozen layers have been run on the chains."""

    def build(chains, model, folder):
        encoders = model.encoders()
        for embedding in embedding_entries(model.options).values():
            file = folder / embedding["key"] / chains.name
            if embedding["encoder"]:
                embed(encoders[embedding["encoder"]], embedding, chains, file)
            else:
                describe_columns("couplings", [chains], [file])
        return Samples(chains, model, folder)

    return build

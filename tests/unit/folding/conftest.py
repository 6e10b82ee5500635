import h5py
import numpy as np
import pytest
import torch

from hardfold import backbones
from hardfold.contact.columns import describe_columns
from hardfold.dataset import build_shard
from hardfold.fetch import fetch
from hardfold.folding.fused import fuse
from hardfold.folding.model import build_model, save_model, tiny_config
from hardfold.structure.chain import Chain, save_chains

LETTERS = "ARNDCQEGHILKMFPSTWYV"


def helix(length, generator):
    """Backbone and CB of a noisy helix, (length, 5, 3)."""
    turn = np.arange(length) * np.deg2rad(100)
    offsets = {
        "N": (1.6, -0.5, -0.9),
        "CA": (2.3, 0.0, 0.0),
        "C": (1.7, 0.5, 1.1),
        "O": (2.0, 0.6, 2.3),
        "CB": (3.3, 0.3, -0.3),
    }
    atoms = [
        np.stack([r * np.cos(turn + t), r * np.sin(turn + t), 1.5 * np.arange(length) + z], axis=1)
        for r, t, z in offsets.values()
    ]
    return (np.stack(atoms, axis=1) + generator.normal(size=(length, 5, 3)) * 0.1).astype(np.float32)


def write_chains(path, lengths, seed):
    """A data set of helices; of each the second residue is unresolved, the third one unknown."""
    generator = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.attrs["format_version"] = "1"
        for number, length in enumerate(lengths):
            group = file.create_group(f"chains/{seed}abc_{number}")
            letters = list(generator.choice(list(LETTERS), length))
            letters[2] = "X"
            coordinates = helix(length, generator)
            coordinates[1] = np.nan
            coordinates[[letter == "G" for letter in letters], 4] = np.nan
            group["sequence"] = "".join(letters)
            group["coordinates"] = coordinates
            group["mask"] = np.isfinite(coordinates[:, :3]).all(axis=(1, 2))
            for name in ("msa", "contact_map", "distance_map", "angle_map"):
                group[name] = np.zeros((1, 1))
    return path


@pytest.fixture
def tiny():
    """A tiny model whose structure module is not at rest: residues lie apart. Fused, like one that is loaded."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(tiny_config()).eval()
    with torch.no_grad():
        for parameter in model.trunk.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    fuse(model)
    return model


@pytest.fixture
def fetched(tmp_path):
    """Fetches a model of the folder `models` as the rule fetch_weights does; returns where it lies then."""

    def place(model):
        places = {"folder": tmp_path / "models", "cache": tmp_path / "cache", "archive": "https://example.org"}
        fetch(model, **places, offline=True, output=tmp_path / "weights" / model)
        return tmp_path / "weights" / model

    return place


@pytest.fixture
def weights(tiny, tmp_path, fetched):
    """The tiny model as the rule fetch_weights leaves it."""
    save_model(tiny, tmp_path / "models" / "tiny")
    return fetched("tiny")


@pytest.fixture
def data(tmp_path):
    """Paths of train and validation data sets."""
    return {
        "train": write_chains(tmp_path / "train.h5", [14, 9, 20, 12], 1),
        "validation": write_chains(tmp_path / "validation.h5", [11, 8], 2),
    }


@pytest.fixture
def language_model(tiny, tmp_path, fetched):
    """The tiny model's stem as an ESM-2 checkpoint with a head of its own, as the rule fetch_weights leaves it."""
    torch.manual_seed(1)
    stem, _ = backbones.build_esm2(1, 8, 2)
    own = {name: value for name, value in tiny.state_dict().items() if name.startswith("esm.")}
    state = stem.state_dict()
    state |= {name: value for name, value in backbones.from_transformers(own).items() if name in state}
    stem.load_state_dict(state)
    backbones.save(stem, tmp_path / "models/esm2_tiny.pt")
    return fetched("esm2_tiny")


@pytest.fixture
def real_data(tmp_path):
    """A data set as the workflow builds it: five helices of 20 to 40 residues, each its own alignment."""
    generator, chains = np.random.default_rng(5), []
    for number, length in enumerate((20, 24, 28, 33, 40)):
        letters = "".join(generator.choice(list(LETTERS), length))
        atoms = helix(length, generator)
        atoms[[letter == "G" for letter in letters], 4] = np.nan
        chains.append(Chain.from_atoms(f"{number}abc_A", letters, atoms))
        (tmp_path / f"{chains[-1].id}.a3m").write_text(f">query\n{letters}\n")
    save_chains(tmp_path / "chains.h5", chains)
    build_shard(tmp_path / "chains.h5", tmp_path, tmp_path / "real.h5", max_rows=4, selection="top")
    return tmp_path / "real.h5"


@pytest.fixture
def aligned(tmp_path):
    """A data set of four helices of 18 to 24 residues with alignments of eight rows, and its features' two files."""
    generator, chains = np.random.default_rng(3), []
    for number, length in enumerate((18, 20, 22, 24)):
        letters = generator.choice(list(LETTERS), length)
        atoms = helix(length, generator)
        atoms[letters == "G", 4] = np.nan
        chains.append(Chain.from_atoms(f"{number}abc_A", "".join(letters), atoms))
        rows = np.tile(letters, (8, 1))
        changed = generator.random(rows.shape) < 0.5
        changed[0] = False
        rows[changed] = generator.choice(list(LETTERS), changed.sum())
        text = "".join(f">{row}\n{''.join(letters)}\n" for row, letters in enumerate(rows))
        (tmp_path / f"{chains[-1].id}.a3m").write_text(text)
    save_chains(tmp_path / "chains.h5", chains)
    data = tmp_path / "aligned.h5"
    build_shard(tmp_path / "chains.h5", tmp_path, data, max_rows=8, selection="top")
    describe_columns("profile", [data], [tmp_path / "profile.h5"])
    describe_columns("couplings", [data], [tmp_path / "couplings.h5"])
    return data, (tmp_path / "profile.h5", tmp_path / "couplings.h5")

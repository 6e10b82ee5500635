"""The alignment adapter: what it reads, that it starts as nothing, and that alignments alone make its difference."""

import csv
import json

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hardfold import tables
from hardfold.alignment import log_odds, profile
from hardfold.contact import embeddings
from hardfold.contact.embeddings import EmbeddingsError
from hardfold.couplings import couplings, standardised
from hardfold.dataset import Dataset
from hardfold.folding.adapters import (
    LAYERS,
    AdapterError,
    add_adapter,
    load_adapter,
    save_adapter,
    save_alignment,
    trained_parameters,
)
from hardfold.folding.alignment import AlignmentAdapter, AlignmentFeatures, read_donors
from hardfold.folding.finetune import finetune
from hardfold.folding.model import fold, load_model, save_model
from hardfold.folding.module import Crops, collate
from hardfold.folding.predict import fold_sequence, predict_structures
from hardfold.structure.parse import read_model

SHAPE = {"blocks": 1, "layers": list(LAYERS), "rank": 2, "alpha": 4, "dropout": 0.0, "train_confidence": True}
OPTIONS = {
    "adapter": {"mode": "lora", **SHAPE},
    "training": {
        "learning_rate": 0.01, "alignment_learning_rate": 0.02,
        "steps": 3, "warmup": 0, "schedule": "constant", "batch_size": 2,
        "accumulate_batches": 1, "crop": 12, "precision": "32-true", "activation_checkpointing": True,
        "validate_every": 3, "patience": 0,
    },
    "losses": {"fape": 1.0, "fape_clamped": 0.5, "fape_blocks": [], "confidence": 0.1, "contact": 0.3},
    "recycles": 1, "chunk_size": 0, "half_stem": False,
}  # fmt: skip


def stir(model):
    """Weights as if trained: what the adapter reads counts."""
    with torch.no_grad():
        for parameter in model.trunk.alignment.parameters():
            parameter.normal_(0, 1)


@pytest.fixture
def reader(tiny):
    model = add_adapter(tiny, mode="lora", **SHAPE)
    AlignmentAdapter(model, 1)
    return model.eval()


def test_features_are_the_profile_and_the_couplings_of_the_alignment(aligned):
    data, files = aligned
    record = Dataset(data)["1abc_A"]
    columns, pairs = AlignmentFeatures(*files, data).read("1abc_A", 4, 15)
    assert np.array_equal(columns, log_odds(profile(record.msa))[4:15])
    assert np.array_equal(pairs, standardised(couplings(record.msa))[4:15, 4:15].astype(np.float16))


def test_features_of_other_alignments_are_refused(aligned, real_data):
    _, files = aligned
    with pytest.raises(EmbeddingsError, match="not of 0abc_A"):
        AlignmentFeatures(*files, real_data)


def test_each_alignment_is_read_once_to_check_the_features(aligned, monkeypatch):
    data, files = aligned
    read, seen = embeddings.read_letters, []
    monkeypatch.setattr(embeddings, "read_letters", lambda group, rows: seen.append(group.name) or read(group, rows))
    AlignmentFeatures(*files, data)
    assert seen == [f"/chains/{id}" for id in Dataset(data).ids]


@pytest.mark.parametrize("spoilt", [0, 1])
def test_features_of_an_alignment_that_changed_are_refused(aligned, spoilt):
    data, files = aligned
    with h5py.File(files[spoilt], "a") as file:
        file["1abc_A"].attrs["letters"] = "0" * 64
    with pytest.raises(EmbeddingsError, match=rf"{files[spoilt].name}: not of 1abc_A"):
        AlignmentFeatures(*files, data)


def test_a_donors_features_are_cut_and_filled_up_with_nothing(aligned):
    data, files = aligned
    own = AlignmentFeatures(*files, data)
    given = AlignmentFeatures(*files, data, {"3abc_A": "0abc_A", "0abc_A": "3abc_A"})
    columns, pairs = own.read("0abc_A", 0, 18)
    long_columns, long_pairs = given.read("3abc_A", 0, 24)
    assert torch.equal(long_columns[:18], columns) and torch.equal(long_pairs[:18, :18], pairs)
    assert not long_columns[18:].any() and not long_pairs[18:].any() and not long_pairs[:, 18:].any()
    longer = own.read("3abc_A", 0, 24)
    short = given.read("0abc_A", 0, 18)
    assert torch.equal(short[0], longer[0][:18]) and torch.equal(short[1], longer[1][:18, :18])


def test_crops_carry_the_features_of_their_residues(aligned):
    data, files = aligned
    features = AlignmentFeatures(*files, data)
    crops = Crops(Dataset(data), 19, features)
    batch = collate([crops[2, 3], crops[0, 0]])
    assert batch["profile"].shape == (2, 19, 21) and batch["couplings"].shape == (2, 19, 19)
    assert torch.equal(batch["profile"][0], features.read("2abc_A", 3, 22)[0])
    assert torch.equal(batch["couplings"][1, :18, :18], features.read("0abc_A", 0, 18)[1])
    assert not batch["profile"][1, 18:].any() and not batch["couplings"][1, 18:].any()


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_step_0_is_the_untouched_model_to_the_bit(tiny, aligned, mode):
    data, files = aligned
    sequence, alignment = Dataset(data)["2abc_A"].sequence, AlignmentFeatures(*files, data).read("2abc_A", 0, 22)
    before = fold_sequence(tiny, sequence, 1)
    adapted = add_adapter(tiny, mode=mode, **SHAPE)
    AlignmentAdapter(adapted, 1)
    after = fold_sequence(adapted.eval(), sequence, 1, 0, alignment)
    assert all(np.array_equal(first, second, equal_nan=True) for first, second in zip(before, after, strict=True))
    names = [name for name in trained_parameters(adapted) if ".alignment." in name]
    assert [name.partition("trunk.")[2] for name in names] == ["alignment.profile.weight", "alignment.couplings.weight"]


@pytest.mark.parametrize("part", [0, 1])
def test_each_feature_reaches_the_structure(reader, aligned, part):
    data, files = aligned
    stir(reader)
    sequence, alignment = Dataset(data)["2abc_A"].sequence, AlignmentFeatures(*files, data).read("2abc_A", 0, 22)
    changed = [*alignment]
    changed[part] = changed[part].flip(0)
    first, second = (fold_sequence(reader, sequence, 0, 0, each)[0] for each in (alignment, tuple(changed)))
    assert np.nanmax(np.abs(first - second)) > 1e-3


def test_a_model_that_reads_alignments_does_not_fold_without(reader, aligned):
    data, files = aligned
    sequence = Dataset(data)["2abc_A"].sequence
    fold_sequence(reader, sequence, 0, 0, AlignmentFeatures(*files, data).read("2abc_A", 0, 22))
    with pytest.raises(KeyError, match="profile"):
        fold_sequence(reader, sequence, 0)


def test_padding_does_not_reach_a_shorter_chain(reader, aligned):
    data, files = aligned
    stir(reader)
    crops = Crops(Dataset(data), None, AlignmentFeatures(*files, data))
    together = fold(reader, collate([crops[0, 0], crops[3, 0]]), 0).frames[-1, 0, :18]
    alone = fold(reader, collate([crops[0, 0]]), 0).frames[-1, 0]
    assert torch.allclose(together, alone, atol=1e-4)


def test_frozen_blocks_before_it_get_no_gradient(reader, aligned):
    data, files = aligned
    batch = collate([Crops(Dataset(data), None, AlignmentFeatures(*files, data))[0, 0]])
    seen = []
    reader.trunk.blocks[0].register_forward_hook(lambda block, read, given: seen.append(given[0].requires_grad))
    fold(reader, batch, 0).frames[-1].square().sum().backward()
    assert seen == [False] and reader.trunk.alignment.profile.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_is_saved_folds_as_before(tiny, aligned, weights, tmp_path, mode):
    data, files = aligned
    adapted = add_adapter(tiny, mode=mode, **SHAPE)
    AlignmentAdapter(adapted, 1)
    stir(adapted)
    sequence, alignment = Dataset(data)["3abc_A"].sequence, AlignmentFeatures(*files, data).read("3abc_A", 0, 24)
    save_adapter(adapted, tmp_path / "adapter")
    stored = [name for path in (tmp_path / "adapter").glob("*.safetensors") for name in load_file(path)]
    assert [name for name in stored if "profile" in name] == ["profile.weight"]  # once
    again = load_adapter(load_model(weights)[0], tmp_path / "adapter")
    first = fold_sequence(adapted.eval(), sequence, 1, 0, alignment)
    second = fold_sequence(again, sequence, 1, 0, alignment)
    assert all(np.array_equal(one, two, equal_nan=True) for one, two in zip(first, second, strict=True))


def test_a_models_own_adapter_comes_with_its_weights(tiny, aligned, tmp_path, fetched):
    data, files = aligned
    save_model(tiny, tmp_path / "models/tiny")
    AlignmentAdapter(tiny, 0)
    stir(tiny)
    save_alignment(tiny, tmp_path / "models/tiny")
    weights = fetched("tiny")
    features = AlignmentFeatures(*files, data)
    for name, adapters in (("plain", []), ("reading", [weights])):
        run = {"weights": weights, "targets": data, "adapters": adapters, "folds": None, "threads": 1}
        run |= {"recycles": 0, "chunk_size": 0, "half_stem": False, "alignments": features if adapters else None}
        predict_structures(**run, output=tmp_path / name / "predictions.tsv")
    plain, reading = ((tmp_path / name / "3abc_A.cif").read_bytes() for name in ("plain", "reading"))
    assert plain != reading


def test_a_folder_without_its_adapter_is_refused(tiny, weights, tmp_path):
    with pytest.raises(AdapterError, match=r"no adapter \(alignment.safetensors\)"):
        load_adapter(tiny, weights)
    adapted = add_adapter(tiny, mode="lora", **SHAPE)
    AlignmentAdapter(adapted, 1)
    save_adapter(adapted, tmp_path / "adapter")
    (tmp_path / "adapter/adapter_config.json").unlink()
    with pytest.raises(AdapterError, match=r"no adapter \(adapter_config.json or trained.safetensors\)"):
        load_adapter(load_model(weights)[0], tmp_path / "adapter")


@pytest.fixture
def trained(aligned, weights, tmp_path):
    """Fine-tune on the aligned chains; returns the folder."""
    data, _ = aligned

    def run(name, alignments, **training):
        chains = {"train": Dataset(data), "validation": Dataset(data)}
        finetune(
            arm="disjoint_alignment", seed=1, weights=weights, **chains, output=tmp_path / name,
            state=tmp_path / f"{name}-state", options=OPTIONS | {"training": OPTIONS["training"] | training}, threads=1,
            alignments=alignments,
        )  # fmt: skip
        return tmp_path / name

    return run


def test_a_run_with_alignments_starts_where_the_one_without_does_and_then_parts(trained, aligned):
    data, files = aligned
    features = AlignmentFeatures(*files, data)
    plain, reading = trained("plain", {}), trained("reading", {"train": features, "validation": features})
    first, second = (list(csv.DictReader((folder / "history.csv").open())) for folder in (plain, reading))
    assert first[0] == second[0] and first[1]["loss"] == second[1]["loss"]
    assert first[3]["validation_loss"] != second[3]["validation_loss"]
    record = json.loads((reading / "training.json").read_text())
    assert record["step0_max_difference"] == 0.0 and record["adapted_modules"][-1] == "trunk.alignment"
    assert not (plain / "adapter/alignment.safetensors").exists()


def test_the_projections_have_a_learning_rate_of_their_own(trained, aligned):
    data, files = aligned
    features = AlignmentFeatures(*files, data)
    alignments = {"train": features, "validation": features}
    slow, fast = (
        load_file(trained(name, alignments, alignment_learning_rate=rate) / "adapter/alignment.safetensors")
        for name, rate in (("slow", 1e-9), ("fast", 1e-2))
    )
    assert slow["profile.weight"].abs().max() < 1e-8 and fast["profile.weight"].abs().max() > 1e-3


def test_a_target_is_folded_with_its_own_alignment_or_with_anothers(trained, aligned, weights, tmp_path):
    data, files = aligned
    own = AlignmentFeatures(*files, data)
    adapter = trained("reading", {"train": own, "validation": own}) / "adapter"
    ids = Dataset(data).ids
    rows = [
        {"target": id, "seed": seed, "donor": ids[number - seed]} for number, id in enumerate(ids) for seed in (1, 2)
    ]
    tables.write(tmp_path / "donors.tsv", rows, ["target", "seed", "donor"])
    donors = read_donors(tmp_path / "donors.tsv", 1)
    assert donors == dict(zip(ids, [ids[-1], *ids[:-1]], strict=True))
    atoms = {}
    for name, given in {"own": {}, "swapped": donors}.items():
        predict_structures(
            weights=weights, targets=data, adapters=[adapter], folds=None, output=tmp_path / name / "predictions.tsv",
            recycles=0, chunk_size=0, half_stem=False, threads=1, alignments=AlignmentFeatures(*files, data, given),
        )  # fmt: skip
        atoms[name] = read_model(tmp_path / name / "1abc_A.cif").coordinates
    assert np.nanmax(np.abs(atoms["own"] - atoms["swapped"])) > 0

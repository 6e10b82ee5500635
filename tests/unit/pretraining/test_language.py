"""Masked language models: what is hidden, what a batch holds, and that the files are the official ones."""

import json

import h5py
import numpy as np
import pytest
import torch

from hardfold import backbones
from hardfold.pretraining import language
from hardfold.pretraining.data import load_sequences, load_stretches

SETTINGS = {
    "layers": 1, "dim": 16, "heads": 2, "crop": 20, "batch": 2, "steps": 3, "warmup": 1, "learning_rate": 0.01,
    "bfloat16": False, "validation_batches": 1, "validate_every": 2, "regression_chains": 2,
}  # fmt: skip


@pytest.fixture
def alphabet():
    return backbones.build_esm2(1, 8, 1)[1]


def generator():
    return torch.Generator().manual_seed(0)


def test_masking_hides_fifteen_percent_in_the_stated_shares(alphabet):
    tokens = torch.full((200, 500), alphabet.get_idx("A"))
    hidden, target = language.mask_tokens(tokens, alphabet, generator())
    chosen = target != -100
    assert (target[chosen] == tokens[chosen]).all()
    assert torch.equal(hidden[~chosen], tokens[~chosen])
    share = chosen.float().mean()
    assert abs(share - 0.15) < 0.01
    assert abs((hidden[chosen] == alphabet.mask_idx).float().mean() - 0.8) < 0.01
    # 10 % become another residue, one in twenty of which is the same by chance.
    assert abs((hidden[chosen] == tokens[chosen]).float().mean() - 0.105) < 0.01


def test_masking_leaves_special_tokens_alone(alphabet):
    tokens = torch.tensor([[alphabet.cls_idx, alphabet.eos_idx, alphabet.padding_idx, alphabet.get_idx("X")]])
    tokens = tokens.repeat(100, 10)
    hidden, target = language.mask_tokens(tokens, alphabet, generator())
    assert torch.equal(hidden, tokens) and (target == -100).all()


def test_a_batch_depends_on_its_number_alone(alphabet):
    records = ["ACDEFGHIKLMNPQRSTVWY" * 3, "WYACDEFG" * 5]
    cut = language.cut_sequence(20, alphabet)
    crops = language.Crops(records, cut, alphabet, batch=3, steps=10, seed=7)
    first = crops[4]
    crops[0]
    assert all(torch.equal(a, b) for a, b in zip(first, crops[4], strict=True))
    assert not torch.equal(first[0], crops[5][0])


def test_an_alignment_crop_has_the_query_first_and_whole_columns():
    alphabet = backbones.build_esm_msa(1, 8, 1)[1]
    rows = np.frombuffer(b"ACDEFGHIKLMMMMMMMMMMWWWWWWWWWW----------", np.uint8).reshape(4, 10)
    tokens = language.cut_alignment(4, 3, alphabet)(rows, generator())
    assert tokens.shape == (3, 5) and (tokens[:, 0] == alphabet.cls_idx).all()
    letters = ["".join(alphabet.get_tok(int(code)) for code in row[1:]) for row in tokens]
    assert letters[0] in "ACDEFGHIKL"
    assert all(len(set(row)) == 1 for row in letters[1:])


def test_sequence_model_is_trained_and_read_by_fair_esm(data, tmp_path):
    language.train_sequence_model(data, tmp_path, "esm2_t1_tiny", SETTINGS, seed=1, threads=1)
    model, alphabet = backbones.load(tmp_path / "esm2_t1_tiny.pt")
    report = json.loads((tmp_path / "training.json").read_text())
    assert report["contacts"]["validation_chains"] == 3
    assert 15 < report["unigram_perplexity"] < 20
    history = (tmp_path / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in history] == ["step", "0", "2", "3"]
    # The regression was fitted: fair-esm's own draw is never near zero in all weights and bias at once.
    assert model.contact_head.regression.bias.item() < 0
    drawn = alphabet.get_batch_converter()([("a", "ACDEFG")])[2]
    assert model.predict_contacts(drawn).shape == (1, 6, 6)


def test_alignment_model_is_trained_and_read_by_fair_esm(data, tmp_path):
    path = tmp_path / "alignments.h5"
    with h5py.File(path, "w") as store:
        for group in ("train", "validation"):
            for name, chain in load_stretches(data, group).items():
                query = np.frombuffer(chain.sequence.encode(), np.uint8)
                store[f"{group}/{name}"] = np.stack([query, np.roll(query, 1), query])
    settings = {**SETTINGS, "rows": 2, "min_rows": 2}
    language.train_alignment_model(data, path, tmp_path, "esm_msa1b_t1_tiny", settings, seed=1, threads=1)
    model, _ = backbones.load(tmp_path / "esm_msa1b_t1_tiny.pt")
    assert model.num_layers == 1
    assert json.loads((tmp_path / "training.json").read_text())["records"] == {"train": 6, "validation": 3}


def test_sequences_come_back_as_they_were_stored(data):
    stretches = load_stretches(data, "train")
    assert load_sequences(data, "train") == [stretches[name].sequence for name in sorted(stretches)]
    assert all(chain.virtual_cb.any() for chain in stretches.values())

"""Masked language models: what is hidden, what a batch holds, and that the files are the official ones."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch

from hardfold import backbones
from hardfold.distributed import launch
from hardfold.pretraining import language, masked, masking
from hardfold.pretraining.packing import load_sequences, load_stretches


@pytest.fixture
def settings(tiny):
    small = {"layers": 1, "dim": 16, "crop": 20, "tokens": 60, "steps": 4, "validate_every": 2}
    return tiny["esm2_t2_tiny_hardfold"] | small


@pytest.fixture
def alphabet():
    return backbones.build_esm2(1, 8, 1)[1]


def generator():
    return torch.Generator().manual_seed(0)


def test_masking_hides_fifteen_percent_in_the_stated_shares(alphabet):
    tokens = torch.full((200, 500), alphabet.get_idx("A"))
    hidden, target = masking.mask_tokens(tokens, alphabet, generator())
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
    hidden, target = masking.mask_tokens(tokens, alphabet, generator())
    assert torch.equal(hidden, tokens) and (target == -100).all()


def test_a_batch_depends_on_its_number_alone(alphabet):
    records = ["ACDEFGHIKLMNPQRSTVWY" * 3, "WYACDEFG" * 5]
    plan = masking.plan_batches(np.array([60, 40]), np.arange(2), 10, crop=20, residues=20, seed=7)
    batches = masking.MaskedBatches(records, plan, masking.cut_sequence(20, alphabet), alphabet, seed=7)
    first = batches[4]
    batches[0]
    assert all(torch.equal(a, b) for a, b in zip(first, batches[4], strict=True))
    assert not torch.equal(first[0], batches[5][0])


def test_batches_keep_to_the_budget_and_an_epoch_shows_each_cluster_once():
    lengths, clusters = np.random.default_rng(1).integers(30, 300, 200), np.repeat(np.arange(50), 4)
    plan = masking.plan_batches(lengths, clusters, 40, crop=120, residues=500, seed=1)
    sizes = [len(batch) * max(min(lengths[index], 120) for index, _ in batch) for batch in plan]
    assert max(sizes) <= 500 and np.mean(sizes) > 350
    shown = [clusters[index] for batch in plan for index, _ in batch][:50]
    assert sorted(shown) == list(range(50))
    members = {index for batch in plan for index, _ in batch}
    assert len(members) > 60  # drawn anew in each epoch


def test_nothing_to_learn_from_is_refused(data, tmp_path, settings, alignments):
    settings |= {"rows": 2, "min_rows": 9}
    with pytest.raises(ValueError, match="no record to train on"):
        language.train_alignment_model(data, alignments, tmp_path / "run", tmp_path / "state", "tiny", settings, 1, 1)


def test_an_alignment_crop_has_the_query_first_and_whole_columns():
    alphabet = backbones.build_esm_msa(1, 8, 1)[1]
    rows = np.frombuffer(b"ACDEFGHIKLMMMMMMMMMMWWWWWWWWWW----------", np.uint8).reshape(4, 10)
    tokens = masking.cut_alignment(4, 3, alphabet)(rows, 2, generator())
    assert tokens.shape == (3, 5) and (tokens[:, 0] == alphabet.cls_idx).all()
    letters = ["".join(alphabet.get_tok(int(code)) for code in row[1:]) for row in tokens]
    assert letters[0] == "DEFG"
    assert all(len(set(row)) == 1 for row in letters[1:])


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_model_that_is_trained_is_fair_esm_s(alphabet, bfloat16):
    """In bf16 on a CPU attention is another one."""
    torch.manual_seed(0)
    model, _ = backbones.build_esm2(2, 16, 2)
    _, logits = language.fused_model(model, alphabet, 20, bfloat16)
    tokens = torch.tensor([[0, 5, 6, 32, 8, 2], [0, 9, 10, 2, 1, 1]])
    known = tokens != alphabet.padding_idx
    torch.testing.assert_close(logits(tokens)[known], model(tokens)["logits"][known], rtol=1e-4, atol=1e-5)


def test_held_out_loss_is_of_positions_that_show_the_mask(alphabet):
    """A model that copies what it sees knows nothing of what is hidden."""
    module = torch.nn.Linear(1, 1)
    module.device = torch.device("cpu")
    module.logits = lambda tokens: 50.0 * torch.nn.functional.one_hot(tokens, 33).float()
    letter, other = alphabet.get_idx("A"), alphabet.get_idx("C")
    tokens = torch.tensor([[letter, alphabet.mask_idx, other]])
    target = torch.tensor([[letter, letter, letter]])  # unchanged, masked, swapped
    assert masked.held_out_losses(module, [(tokens, target)], alphabet.mask_idx) == [50.0]
    unchanged = torch.where(target == letter, -100, target)
    assert masked.held_out_losses(module, [(tokens, unchanged)], alphabet.mask_idx) == []


def test_unigram_perplexity_counts_each_held_out_sequence_alike():
    counts = Counter("A" * 60 + "C" * 22 + "DEFGHIKLMNPQRSTVWY")
    expected = math.exp((-math.log(0.60) - math.log(0.22)) / 2)
    assert language.unigram_perplexity(counts, ["A" * 99, "C"]) == pytest.approx(expected)


def test_sequence_model_is_trained_and_read_by_fair_esm(data, tmp_path, settings):
    folder, state = tmp_path / "run", tmp_path / "state"
    language.train_sequence_model(data, folder, state, "esm2_t1_tiny", settings, seed=1, threads=1)
    model, alphabet = backbones.load(folder / "esm2_t1_tiny.pt")
    report = json.loads((folder / "training.json").read_text())
    assert report["contacts"]["validation_chains"] == 3
    assert 15 < report["unigram_perplexity"] < 21
    history = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    assert [row[0] for row in history] == ["step", "0", "2", "4"]
    assert int(history[-1][1]) == report["tokens"] > 0
    # The regression was fitted: fair-esm's own draw is never near zero in all weights and bias at once.
    assert model.contact_head.regression.bias.item() < 0
    drawn = alphabet.get_batch_converter()([("a", "ACDEFG")])[2]
    assert model.predict_contacts(drawn).shape == (1, 6, 6)
    assert not list(state.glob("*.ckpt"))


class Killed(Exception):
    pass


@pytest.fixture
def killed_at(monkeypatch):
    """Make a class die in the training step of this number."""

    def arm(owner, step):
        whole = owner.training_step

        def training_step(self, batch, index):
            if self.global_step == step:
                raise Killed
            return whole(self, batch, index)

        monkeypatch.setattr(owner, "training_step", training_step)

    return arm


@pytest.mark.parametrize("kind", ["sequence", "alignment"])
def test_a_killed_run_goes_on_to_the_same_bytes(data, alignments, tmp_path, settings, kind, monkeypatch, killed_at):
    """The alignment model has dropout."""
    settings |= {"rows": 2, "min_rows": 2, "steps": 5}

    def train(run):
        common = (tmp_path / run, tmp_path / f"{run}_state", "esm2_t1_tiny", settings, 1, 1)
        if kind == "sequence":
            language.train_sequence_model(data, *common)
        else:
            language.train_alignment_model(data, alignments, *common)

    train("whole")
    with monkeypatch.context():
        killed_at(masked.MaskedModel, 3)
        with pytest.raises(Killed):
            train("killed")
    monkeypatch.undo()
    train("killed")
    for name in ("esm2_t1_tiny.pt", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a process that knows of a GPU cannot be forked")
def test_two_processes_take_the_steps_of_one(data, tmp_path, settings):
    histories = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        run = {"data": data, "folder": folder, "state": tmp_path / f"state{ranks}", "name": "esm2_t1_tiny"}
        launch(ranks, language.train_sequence_model, **run, settings=settings, seed=1, threads=1)
        rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()[1:]]
        histories.append([[float(value or 0) for value in row] for row in rows])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)


def test_alignment_model_is_trained_and_read_by_fair_esm(data, alignments, tmp_path, settings):
    settings |= {"rows": 2, "min_rows": 2}
    common = (tmp_path / "run", tmp_path / "state", "esm_msa1b_t1_tiny", settings, 1, 1)
    language.train_alignment_model(data, alignments, *common)
    model, _ = backbones.load(tmp_path / "run/esm_msa1b_t1_tiny.pt")
    assert model.num_layers == 1
    assert json.loads((tmp_path / "run/training.json").read_text())["records"] == {"train": 4, "validation": 1}


def test_sequences_come_back_as_they_were_stored(data):
    stretches = load_stretches(data, "train")
    assert load_sequences(data, "train")[0] == [stretches[name].sequence for name in sorted(stretches)]

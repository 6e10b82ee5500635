"""Backbones in the official file layout: fair-esm reads what we write, and nothing unsafe is let in."""

import argparse
import logging

import pytest
import torch
from transformers import EsmConfig, EsmForMaskedLM

from hardfold import backbones


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def tokens(model):
    shape = (2, 3, 10) if hasattr(model, "args") else (2, 10)
    drawn = torch.randint(4, 24, shape)
    drawn[..., 0] = model.cls_idx
    drawn[..., 3] = model.mask_idx
    return drawn


BUILDERS = [(backbones.build_esm2, "esm2_t2_tiny"), (backbones.build_esm_msa, "esm_msa1b_t2_tiny")]


def test_a_saved_model_is_the_same_file_whoever_wrote_it(tmp_path, monkeypatch):
    model = backbones.build_esm2(1, 8, 2)[0]
    for process in (1000, 20000):
        monkeypatch.setattr("os.getpid", lambda process=process: process)
        backbones.save(model, tmp_path / str(process) / "model.pt")
    first, second = (sorted((tmp_path / str(process)).iterdir()) for process in (1000, 20000))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize(("build", "stem"), BUILDERS)
def test_saved_and_loaded_model_is_the_same(build, stem, tmp_path):
    model = build(2, 16, 2)[0].eval()
    backbones.save(model, tmp_path / f"{stem}.pt")
    loaded, _ = backbones.load(tmp_path / f"{stem}.pt")
    drawn = tokens(model)
    for ours, theirs in zip(model.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(model(drawn)["logits"], loaded(drawn)["logits"])
    assert torch.equal(model.predict_contacts(drawn), loaded.predict_contacts(drawn))


@pytest.mark.parametrize(("build", "stem"), BUILDERS)
def test_half_precision_file_gives_equal_outputs_to_a_thousandth(build, stem, tmp_path):
    model = build(2, 16, 2)[0].eval()
    backbones.save(model, tmp_path / f"{stem}.pt", half=True)
    loaded, _ = backbones.load(tmp_path / f"{stem}.pt")
    drawn = tokens(model)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())
    assert (model(drawn)["logits"] - loaded(drawn)["logits"]).abs().max() < 1e-3


NORM = "encoder.sentence_encoder.emb_layer_norm_after.weight"


@pytest.mark.parametrize(("build", "stem"), BUILDERS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.pop(NORM), r"Missing key.*emb_layer_norm_after\.weight"),
        (lambda model: model.update({f"{NORM}s": torch.ones(1)}), r"Unexpected key.*emb_layer_norm_after\.weights"),
        (lambda model: model.update({NORM: torch.ones(1)}), r"size mismatch for emb_layer_norm_after\.weight"),
    ],
)
def test_a_missing_an_unexpected_and_a_misshapen_weight_are_refused(build, stem, change, message, tmp_path):
    path = tmp_path / f"{stem}.pt"
    backbones.save(build(2, 16, 2)[0], path)
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path)
    change(content["model"])
    torch.save(content, path)
    with pytest.raises(RuntimeError, match=f"(?s)cannot be loaded.*{message}"):
        backbones.load(path)


@pytest.mark.parametrize(("build", "stem"), BUILDERS)
def test_what_was_loaded_is_reported_and_half_a_file_refused(build, stem, tmp_path, caplog):
    path = tmp_path / f"{stem}.pt"
    model = build(2, 16, 2)[0]
    backbones.save(model, path)
    with caplog.at_level(logging.INFO):
        backbones.load(path)
    assert f"{path}: {len(model.state_dict())} tensors loaded, none missing, none unexpected" in caplog.text
    regression = tmp_path / f"{stem}-contact-regression.pt"
    for file in (regression, path):
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(RuntimeError, match=f"{path} cannot be loaded"):
            backbones.load(path)
    backbones.save(model, path)
    regression.unlink()
    with pytest.raises(RuntimeError, match=f"{path} cannot be loaded.*{regression.name}"):
        backbones.load(path)


class Payload:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


def test_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "esm2_t2_tiny.pt"
    backbones.save(backbones.build_esm2(2, 16, 2)[0], path)
    torch.save({"cfg": Payload(), "model": {}}, path)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        backbones.load(path)
    assert "a pickle ran code" not in capsys.readouterr().out


def test_transformers_state_and_back_gives_equal_outputs():
    model = backbones.build_esm2(2, 16, 2)[0].eval()
    fast = EsmForMaskedLM(
        EsmConfig(
            vocab_size=33, mask_token_id=32, pad_token_id=1, hidden_size=16, num_hidden_layers=2,
            num_attention_heads=2, intermediate_size=64, position_embedding_type="rotary", token_dropout=True,
            emb_layer_norm_before=False, layer_norm_eps=1e-5,
        )
    ).eval()  # fmt: skip
    fast.load_state_dict(backbones.to_transformers(model.state_dict()), strict=False)
    drawn = tokens(model)
    assert (fast(drawn, attention_mask=drawn.ne(1)).logits - model(drawn)["logits"]).abs().max() < 1e-5

    back = backbones.from_transformers(fast.state_dict())
    state = model.state_dict()
    assert {name for name in state if "contact_head" not in name and "inv_freq" not in name} == set(back)
    assert all(torch.equal(state[name], tensor) for name, tensor in back.items())

"""Backbones in the official file layout: fair-esm reads what we write, and nothing unsafe is let in."""

import argparse

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


def test_missing_weight_is_refused(tmp_path):
    path = tmp_path / "esm2_t2_tiny.pt"
    backbones.save(backbones.build_esm2(2, 16, 2)[0], path)
    with torch.serialization.safe_globals([argparse.Namespace]):
        content = torch.load(path)
    content["model"].pop("encoder.sentence_encoder.layers.1.fc1.weight")
    torch.save(content, path)
    with pytest.raises(RuntimeError, match=r"layers\.1\.fc1\.weight"):
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

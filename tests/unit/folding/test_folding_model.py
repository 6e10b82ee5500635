import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hardfold.folding.model import (
    UNKNOWN,
    ModelError,
    build_model,
    checkpoint_blocks,
    encode,
    initialise,
    load_model,
    save_model,
    tiny_config,
)

SEQUENCES = ["ACDEFGHIKX", "MKV"]


def run(model, sequences=SEQUENCES, recycles=1):
    aatype, mask, residue_index = encode(sequences)
    return model(aatype, attention_mask=mask, position_ids=residue_index, num_recycles=recycles)


def test_residues_are_encoded_in_alphafolds_order():
    aatype, mask, residue_index = encode(["ARNDCQEGHILKMFPSTWYV", "XUB-"])
    assert aatype[0].tolist() == list(range(20))
    assert aatype[1, :4].tolist() == [UNKNOWN] * 4
    assert mask.sum(1).tolist() == [20, 4]
    assert residue_index[1].tolist() == list(range(20))


def test_a_fresh_model_starts_as_alphafold_does():
    torch.manual_seed(0)
    model = build_model(tiny_config())
    output = run(model.eval())
    assert output.frames[..., 4:].abs().max() == 0  # all residues at the origin
    structure_module, block = model.trunk.structure_module, model.trunk.blocks[0]
    for layer in (structure_module.bb_update.linear, structure_module.ipa.linear_out, block.tri_mul_in.linear_z):
        assert layer.weight.abs().max() == layer.bias.abs().max() == 0
    for gate in (block.seq_attention.g_proj, block.tri_att_start.mha.linear_g, block.tri_mul_out.linear_a_g):
        assert gate.weight.abs().max() == 0 and (gate.bias == 1).all()
    assert structure_module.linear_in.weight.std() > 0.1  # not the library's 0.02


def test_initialising_leaves_the_stem_alone():
    torch.manual_seed(0)
    model = build_model(tiny_config())
    stem = {name: value.clone() for name, value in model.esm.state_dict().items()}
    before = model.lm_head.weight.clone()
    initialise(model)
    assert all(torch.equal(value, stem[name]) for name, value in model.esm.state_dict().items())
    assert not torch.equal(model.lm_head.weight, before)


def test_only_the_stem_is_frozen_and_nothing_drops_out():
    model = build_model(tiny_config())
    assert {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad} == {"esm"}
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.0}
    assert not model.config.esmfold_config.fp16_esm


def test_saved_and_loaded_again_it_predicts_the_same_bits(tiny, tmp_path):
    save_model(tiny, tmp_path / "model")
    again, keys = load_model(tmp_path / "model")
    assert keys["missing"] == keys["unexpected"] == []
    assert keys["loaded"] == len(tiny.state_dict())
    assert not again.training
    with torch.no_grad():
        first, second = run(tiny), run(again)
    assert all(torch.equal(first[name], second[name]) for name in ("positions", "plddt", "distogram_logits"))


def test_half_precision_files_load_as_fp32(tiny, tmp_path):
    save_model(tiny, tmp_path / "model", half=True)
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert stored["lm_head.weight"].dtype == torch.float16
    again, _ = load_model(tmp_path / "model")
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    assert torch.allclose(again.lm_head.weight, tiny.lm_head.weight, atol=1e-3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("lddt_head.1.weight"), "lacks 1 weights, lddt_head.1.weight"),
        (lambda state: state.update({"lm_head.weight": torch.zeros(3, 3)}), r"lm_head.weight is \(3, 3\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tiny, tmp_path, spoil, message):
    save_model(tiny, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    spoil(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


def test_what_folding_does_not_need_may_be_missing_and_is_reported(tiny, tmp_path):
    save_model(tiny, tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["esm.contact_head.regression.weight"]
    state["surplus"] = torch.zeros(1)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    _, keys = load_model(tmp_path)
    assert keys["missing"] == ["esm.contact_head.regression.weight"]
    assert keys["unexpected"] == ["surplus"]


def test_folders_that_hold_no_folding_model_are_refused(tiny, tmp_path):
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        load_model(tmp_path)
    save_model(tiny, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"is_folding_model": False}))
    with pytest.raises(ModelError, match="does not describe a folding model"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_text("junk")
    with pytest.raises(ModelError, match="header"):
        load_model(tmp_path)


def test_padding_does_not_change_a_prediction(tiny):
    with torch.no_grad():
        together, alone = run(tiny), run(tiny, ["MKV"])
    assert torch.allclose(together.positions[:, 1, :3], alone.positions[:, 0], atol=1e-4)


def test_checkpointing_changes_no_gradient(tiny):
    def gradients():
        tiny.zero_grad()
        run(tiny).distogram_logits.square().sum().backward()
        return {name: p.grad.clone() for name, p in tiny.named_parameters() if p.grad is not None}

    plain = gradients()
    checkpoint_blocks(tiny)
    again = gradients()
    assert plain.keys() == again.keys() and len(plain) > 50
    assert all(torch.equal(plain[name], again[name]) for name in plain)

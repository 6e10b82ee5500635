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
    fold,
    initialise,
    keep_precision,
    load_model,
    place,
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
        (lambda state: state.pop("lddt_head.1.weight"), "lack 1 tensors, lddt_head.1.weight"),
        (
            lambda state: state.update({"lm_head.weight": torch.zeros(3, 3)}),
            r"lm_head.weight is \(3, 3\) in the weights",
        ),
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
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"none of model\.safetensors, .*, pytorch_model\.bin, .* is there"):
        load_model(tmp_path)


def put_shards(state, folder, suffix, save):
    """The state in two files and their index, as transformers lays them out."""
    names, stem = list(state), {"bin": "pytorch_model", "safetensors": "model"}[suffix]
    parts = {f"{stem}-0000{k}-of-00002.{suffix}": names[k - 1 :: 2] for k in (1, 2)}
    for file, own in parts.items():
        save({name: state[name] for name in own}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return list(parts)


def save_tensors(state, path):
    save_file(state, path, metadata={"format": "pt"})


LAYOUTS = {
    "pytorch_model.bin": lambda state, folder: torch.save(state, folder / "pytorch_model.bin"),
    "shards of .bin": lambda state, folder: put_shards(state, folder, "bin", torch.save),
    "shards of .safetensors": lambda state, folder: put_shards(state, folder, "safetensors", save_tensors),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_transformers_is_read(tiny, tmp_path, layout):
    save_model(tiny, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    LAYOUTS[layout](tiny.state_dict(), tmp_path)
    again, keys = load_model(tmp_path)
    assert keys == {"loaded": len(tiny.state_dict()), "missing": [], "unexpected": []}
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in tiny.state_dict().items())


def test_a_missing_shard_is_named(tiny, tmp_path):
    save_model(tiny, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    _, last = put_shards(tiny.state_dict(), tmp_path, "bin", torch.save)
    (tmp_path / last).unlink()
    with pytest.raises(ModelError, match=last):
        load_model(tmp_path)


def test_a_pickle_that_runs_code_is_refused(tiny, tmp_path):
    class Dangerous:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    save_model(tiny, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({"lm_head.weight": Dangerous()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="Weights only load failed"):
        load_model(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_released_checkpoints_layout_is_read(tiny, tmp_path):
    """fp16 stem, no contact head, the rotary frequencies with each layer, the half-precision switch in the config."""
    save_model(tiny, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = tiny.state_dict()
    frequencies = state.pop("esm.rotary_embeddings.inv_freq")
    state["esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq"] = frequencies
    state = {name: tensor for name, tensor in state.items() if not name.startswith("esm.contact_head")}
    stem = {name for name, tensor in state.items() if name.startswith("esm.") and tensor.is_floating_point()}
    torch.save(state | {name: state[name].half() for name in stem}, tmp_path / "pytorch_model.bin")
    config = json.loads((tmp_path / "config.json").read_text())
    config["esmfold_config"]["fp16_esm"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))
    again, keys = load_model(tmp_path)
    assert keys["missing"] == [f"esm.contact_head.regression.{kind}" for kind in ("bias", "weight")]
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}
    assert torch.equal(again.esm.rotary_embeddings.inv_freq, frequencies.half().float())
    assert torch.equal(again.lm_head.weight, tiny.lm_head.weight)


def test_what_is_loaded_is_fused(tiny, tmp_path, monkeypatch):
    fused = []
    monkeypatch.setattr("hardfold.folding.model.fuse", fused.append)
    save_model(tiny, tmp_path)
    assert fused == [load_model(tmp_path)[0]]


def test_what_was_loaded_is_logged(tiny, tmp_path, caplog):
    save_model(tiny, tmp_path)
    with caplog.at_level("INFO"):
        load_model(tmp_path)
    assert f"{len(tiny.state_dict())} tensors loaded; missing: none; unexpected: none" in caplog.text


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


def batch(sequences=SEQUENCES):
    return dict(zip(("aatype", "mask", "residue_index"), encode(sequences), strict=True))


def test_chunks_change_next_to_nothing_and_do_not_stay(tiny, monkeypatch):
    chunks, block = [], type(tiny.trunk.blocks[0])
    forward = block.forward

    def watched(self, *arguments, chunk_size=None, **settings):
        chunks.append(chunk_size)
        return forward(self, *arguments, chunk_size=chunk_size, **settings)

    monkeypatch.setattr(block, "forward", watched)
    with torch.no_grad():
        whole, chunked, again = fold(tiny, batch(), 0), fold(tiny, batch(), 0, chunk_size=3), fold(tiny, batch(), 0)
    assert chunks == [None] * 2 + [3] * 2 + [None] * 2
    assert torch.allclose(whole.positions, chunked.positions, atol=1e-4)
    assert torch.equal(whole.positions, again.positions)


def gradients(model, recycles, reduced):
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=reduced, cache_enabled=False):
        output = fold(model, batch(), recycles)
    (output.frames[..., 4:].square().mean() + output.distogram_logits.float().square().mean()).backward()
    found = [p.grad.flatten() for p in model.trunk.blocks.parameters() if p.grad is not None]
    return output, torch.cat(found)


def test_bf16_leaves_stem_and_structure_in_fp32_and_gradients_alike(tiny):
    keep_precision(tiny)
    seen = {}
    for name, module in (("stem", tiny.esm), ("structure", tiny.trunk.structure_module.ipa), ("trunk", tiny.trunk)):
        linear = next(part for part in module.modules() if isinstance(part, torch.nn.Linear))
        linear.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output.dtype}))
    for recycles in (0, 1):  # earlier recycles run without gradients: they must not cost the last its own
        exact, reduced = gradients(tiny, recycles, False), gradients(tiny, recycles, True)
        assert seen["stem"] == seen["structure"] == torch.float32 and seen["trunk"] == torch.bfloat16
        assert reduced[0].frames.dtype == torch.float32
        assert torch.cosine_similarity(exact[1], reduced[1], dim=0) > 0.9


def test_the_stem_is_halved_on_a_gpu_alone(tiny):
    place(tiny, torch.device("cpu"), half_stem=True)
    assert {parameter.dtype for parameter in tiny.parameters()} == {torch.float32}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_halved_stem_keeps_its_rotary_frequencies_and_the_rest(tiny):
    frequencies = tiny.esm.rotary_embeddings.inv_freq.clone()
    place(tiny, torch.device("cuda"), half_stem=True)
    assert {parameter.dtype for parameter in tiny.esm.parameters()} == {torch.float16}
    assert {parameter.dtype for parameter in tiny.trunk.parameters()} == {torch.float32}
    assert torch.equal(tiny.esm.rotary_embeddings.inv_freq.cpu(), frequencies)
    with torch.no_grad():
        assert fold(tiny, {name: tensor.cuda() for name, tensor in batch().items()}, 0).frames.isfinite().all()

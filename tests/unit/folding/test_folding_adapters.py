import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hardfold.folding.adapters import (
    LAYERS,
    AdapterError,
    adapted_modules,
    add_adapter,
    load_adapter,
    save_adapter,
    trained_parameters,
)
from hardfold.folding.model import build_model, load_model
from hardfold.folding.predict import fold_sequence

SEQUENCE = "ACDEFGHIKLMXPQRSTVWY"
OPTIONS = {
    "mode": "lora", "blocks": 1, "layers": list(LAYERS), "rank": 2, "alpha": 4, "dropout": 0.0, "train_confidence": True
}  # fmt: skip
FULL = OPTIONS | {"mode": "full"}


def shake(adapted):
    """Give the adapter an effect, as training does."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))


def test_an_untrained_adapter_changes_not_one_bit(tiny):
    before = fold_sequence(tiny, SEQUENCE, 1)
    after = fold_sequence(add_adapter(tiny, **OPTIONS).eval(), SEQUENCE, 1)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(before, after, strict=True))


def test_what_is_trained_is_what_was_asked_for(tiny):
    adapted = add_adapter(tiny, **OPTIONS)
    names = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert all(".blocks.1." in name or ".lddt_head.modules_to_save." in name for name in names)
    assert sum(".lora_A." in name for name in names) == 34  # linear layers of a trunk block
    assert len(adapted_modules(adapted)) == 35
    both = add_adapter(build_model(tiny.config), **OPTIONS | {"blocks": 2, "train_confidence": False})
    names = {name for name, parameter in both.named_parameters() if parameter.requires_grad}
    assert len(names) == 2 * 2 * 34


def test_the_layers_are_those_asked_for(tiny):
    counts = {"sequence_attention": 3, "sequence_to_pair": 2, "pair_to_sequence": 1}
    counts |= {"triangle_multiplication": 12, "triangle_attention": 12, "transition": 4}
    options = OPTIONS | {"train_confidence": False}
    for layer, count in counts.items():
        names = adapted_modules(add_adapter(build_model(tiny.config), **options | {"layers": [layer]}))
        assert len(names) == count
        assert all(name.split(".")[3] in LAYERS[layer] for name in names)
    both = add_adapter(build_model(tiny.config), **options | {"layers": ["transition", "pair_to_sequence"]})
    assert len(adapted_modules(both)) == 5


def test_in_full_mode_the_last_blocks_themselves_are_trained(tiny):
    names = {name for name, _ in tiny.named_parameters()}
    adapted = add_adapter(tiny, **FULL)
    trained = trained_parameters(adapted)
    assert set(trained) == {name for name in names if name.startswith(("trunk.blocks.1.", "lddt_head."))}
    assert trained["lddt_head.1.weight"] == tiny.lddt_head[1].weight.numel()
    modules = adapted_modules(adapted)
    assert "trunk.blocks.1.seq_attention.proj" in modules and "lddt_head.1" in modules
    frozen = add_adapter(build_model(tiny.config), **FULL | {"train_confidence": False, "blocks": 2})
    assert {name.split(".")[0] for name in trained_parameters(frozen)} == {"trunk"}
    assert {name.split(".")[2] for name in trained_parameters(frozen)} == {"0", "1"}


def test_more_blocks_than_there_are_is_an_error(tiny):
    with pytest.raises(AdapterError, match="3 asked for, the model's trunk has 2"):
        add_adapter(tiny, **OPTIONS | {"blocks": 3})


def test_training_leaves_the_base_untouched(tiny):
    adapted = add_adapter(tiny, **OPTIONS)
    frozen = {name: p.clone() for name, p in adapted.named_parameters() if not p.requires_grad}
    shake(adapted)
    assert all(torch.equal(p, frozen[name]) for name, p in adapted.named_parameters() if not p.requires_grad)
    with adapted.disable_adapter():
        plain = fold_sequence(adapted.eval(), SEQUENCE, 0)[0]
    assert not np.array_equal(plain, fold_sequence(adapted, SEQUENCE, 0)[0], equal_nan=True)


def test_blocks_trained_in_full_are_saved_alone_and_loaded_again(tiny, weights, tmp_path):
    adapted = add_adapter(tiny, **FULL).eval()
    shake(adapted)
    save_adapter(adapted, tmp_path / "adapter")
    assert [path.name for path in (tmp_path / "adapter").iterdir()] == ["trained.safetensors"]
    assert set(load_file(tmp_path / "adapter/trained.safetensors")) == set(trained_parameters(adapted))
    again = load_adapter(load_model(weights)[0], tmp_path / "adapter")
    assert not again.training
    for first, second in zip(fold_sequence(adapted, SEQUENCE, 1), fold_sequence(again, SEQUENCE, 1), strict=True):
        assert np.array_equal(first, second, equal_nan=True)


def test_blocks_of_another_model_are_refused(tiny, weights, tmp_path):
    save_adapter(add_adapter(tiny, **FULL), tmp_path)
    state = load_file(tmp_path / "trained.safetensors")
    save_file(state | {"trunk.blocks.7.seq_attention.proj.weight": torch.zeros(1)}, tmp_path / "trained.safetensors")
    with pytest.raises(ValueError, match=r"unexpected: trunk\.blocks\.7"):
        load_adapter(load_model(weights)[0], tmp_path)


def test_saved_alone_and_loaded_again_it_predicts_the_same_bits(tiny, weights, tmp_path):
    adapted = add_adapter(tiny, **OPTIONS).eval()
    shake(adapted)
    save_adapter(adapted, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    again = load_adapter(load_model(weights)[0], tmp_path / "adapter")
    for first, second in zip(fold_sequence(adapted, SEQUENCE, 1), fold_sequence(again, SEQUENCE, 1), strict=True):
        assert np.array_equal(first, second, equal_nan=True)


def test_merging_changes_next_to_nothing(tiny):
    adapted = add_adapter(tiny, **OPTIONS | {"train_confidence": False}).eval()
    shake(adapted)
    unmerged = fold_sequence(adapted, SEQUENCE, 0)[0]
    merged = fold_sequence(adapted.merge_and_unload(), SEQUENCE, 0)[0]
    assert np.nanmax(np.abs(merged - unmerged)) < 1e-3

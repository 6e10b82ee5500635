"""LoRA (Hu et al. 2021) by peft on the last trunk blocks of a folding model; everything else stays frozen."""

import re
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import EsmForProteinFolding

CONFIDENCE_HEAD = "lddt_head"


class AdapterError(ValueError):
    """An adapter that does not fit the model; the message names the blocks or layers."""


def adapter_pattern(model: EsmForProteinFolding, blocks: int) -> str:
    """The regular expression that fully matches the names of all linear layers of the last `blocks` trunk blocks."""
    total = len(model.trunk.blocks)
    if blocks > total:
        raise AdapterError(f"adapter.blocks: {blocks} asked for, the model's trunk has {total}")
    numbers = "|".join(map(str, range(total - blocks, total)))
    return rf"trunk\.blocks\.({numbers})\..*\.(proj|o_proj|g_proj|linear(_[a-z_]+)?|mlp\.[13])"


def add_adapter(
    model: EsmForProteinFolding, *, blocks: int, rank: int, alpha: float, dropout: float, train_confidence: bool
) -> PeftModel:
    """The model with LoRA on every linear layer of its last `blocks` trunk blocks; B starts at zero.

    `train_confidence` also trains a copy of the confidence head: frozen, pLDDT would drift. AdapterError where the
    layers reached, or the parameters left trainable, are not exactly those.
    """
    pattern = adapter_pattern(model, blocks)
    layers = _block_linears(model, blocks)
    matched = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    if matched != layers:
        raise AdapterError(f"the adapter reaches {sorted(set(matched) ^ set(layers))} otherwise than meant")
    expected = {f"{name}.lora_{half}.default.weight" for name in layers for half in "AB"}
    if train_confidence:
        head = dict(model.get_submodule(CONFIDENCE_HEAD).named_parameters())
        expected |= {f"{CONFIDENCE_HEAD}.modules_to_save.default.{name}" for name in head}
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=pattern,
            modules_to_save=[CONFIDENCE_HEAD] if train_confidence else None,
        ),
    )
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    if wrong := trained ^ {f"base_model.model.{name}" for name in expected}:
        raise AdapterError(f"trained though they should not be, or the reverse: {', '.join(sorted(wrong))}")
    return adapted


def _block_linears(model: EsmForProteinFolding, blocks: int) -> list[str]:
    first = len(model.trunk.blocks) - blocks
    return [
        f"trunk.blocks.{first + number}.{name}"
        for number, block in enumerate(model.trunk.blocks[first:])
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear)
    ]


def adapted_modules(adapted: PeftModel) -> list[str]:
    """Names of the layers that carry LoRA and of the heads trained in full."""
    return [*adapted.targeted_module_names, *(adapted.peft_config["default"].modules_to_save or [])]


def save_adapter(adapted: PeftModel, folder: Path) -> None:
    """Write adapter_model.safetensors and adapter_config.json."""
    adapted.save_pretrained(folder)
    (Path(folder) / "README.md").unlink()  # peft's empty template of a model card


def load_adapter(model: EsmForProteinFolding, folder: Path) -> PeftModel:
    """The model with a saved adapter, unmerged (merging would change the last bits), in eval mode."""
    return PeftModel.from_pretrained(model, folder).eval()

"""What is trained of a folding model: its last trunk blocks, by LoRA (Hu et al. 2021, peft) or in full, and its
confidence head if asked for; everything else stays frozen."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import CONFIG_NAME
from safetensors.torch import save_file
from torch import nn
from transformers import EsmForProteinFolding

from hardfold.folding.alignment import NAME, AlignmentAdapter
from hardfold.tables import whole_file
from hardfold.training import load_trained_state, read_checkpoint, trained_state
from hardfold.weights import ALIGNMENT_WEIGHTS

CONFIDENCE_HEAD = "lddt_head"
# The parts of a trunk block that LoRA may adapt, by the names of their modules.
LAYERS = {
    "sequence_attention": ("seq_attention",),
    "sequence_to_pair": ("sequence_to_pair",),
    "pair_to_sequence": ("pair_to_sequence",),
    "triangle_multiplication": ("tri_mul_out", "tri_mul_in"),
    "triangle_attention": ("tri_att_start", "tri_att_end"),
    "transition": ("mlp_seq", "mlp_pair"),
}
FULL = "trained.safetensors"  # the file of blocks that were trained in full


class AdapterError(ValueError):
    """An adapter that does not fit the model; the message names the blocks or layers."""


def adapter_pattern(blocks: Iterable[int], layers: Sequence[str]) -> str:
    """The regular expression that fully matches the names of all linear layers of these parts of these trunk blocks."""
    numbers = "|".join(map(str, blocks))
    parts = "|".join(part for layer in layers for part in LAYERS[layer])
    return rf"trunk\.blocks\.({numbers})\.({parts})\.(.+\.)?(proj|o_proj|g_proj|linear(_[a-z_]+)?|mlp\.[13])"


def add_adapter(
    model: EsmForProteinFolding,
    *,
    mode: str,
    blocks: int,
    layers: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    train_confidence: bool,
) -> nn.Module:
    """The model with its last `blocks` trunk blocks trainable, and the confidence head (frozen, pLDDT would drift).

    mode lora: `add_lora` on every linear layer of their `layers` (LAYERS), and a copy of the head is trained.
    mode full: all of the blocks' parameters, themselves. AdapterError where the layers reached, or the parameters left
    trainable, are not exactly those.
    """
    total = len(model.trunk.blocks)
    if blocks > total:
        raise AdapterError(f"adapter.blocks: {blocks} asked for, the model's trunk has {total}")
    last = range(total - blocks, total)
    head = [CONFIDENCE_HEAD] if train_confidence else []
    if mode == "full":
        trained = [*(f"trunk.blocks.{number}" for number in last), *head]
        model.requires_grad_(False)
        for name in trained:
            model.get_submodule(name).requires_grad_(True)
        return _checked(model, {f"{name}.{own}" for name in trained for own in _parameters(model, name)})
    pattern = adapter_pattern(last, layers)
    linears = _block_linears(model, last, layers)
    return add_lora(model, pattern, linears, rank=rank, alpha=alpha, dropout=dropout, head=head)


def add_lora(
    model: EsmForProteinFolding,
    pattern: str,
    linears: Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    head: Sequence[str] = (),
) -> PeftModel:
    """The model with LoRA on the layers whose names match `pattern`, B at zero, and copies of the modules `head`
    trainable. AdapterError unless the layers are just `linears`, and nothing else is left trainable.
    """
    matched = {name for name, _ in model.named_modules() if re.fullmatch(pattern, name)}
    if wrong := matched ^ set(linears):
        raise AdapterError(f"the adapter reaches {sorted(wrong)} otherwise than meant")
    expected = {f"{name}.lora_{half}.default.weight" for name in linears for half in "AB"}
    expected |= {f"{name}.modules_to_save.default.{own}" for name in head for own in _parameters(model, name)}
    lora = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, modules_to_save=list(head) or None
    )
    return _checked(get_peft_model(model, lora), {f"base_model.model.{name}" for name in expected})


def _parameters(model, module):
    return [name for name, _ in model.get_submodule(module).named_parameters()]


def _block_linears(model, blocks, layers):
    parts = {part for layer in layers for part in LAYERS[layer]}
    return [
        f"trunk.blocks.{number}.{name}"
        for number in blocks
        for name, module in model.trunk.blocks[number].named_modules()
        if isinstance(module, nn.Linear) and name.split(".")[0] in parts
    ]


def _checked(adapted, expected):
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    if wrong := trained ^ expected:
        raise AdapterError(f"trained though they should not be, or the reverse: {', '.join(sorted(wrong))}")
    return adapted


def trained_parameters(adapted: nn.Module) -> dict[str, int]:
    """Name -> count of each parameter that is trained."""
    return {name: parameter.numel() for name, parameter in adapted.named_parameters() if parameter.requires_grad}


def adapted_modules(adapted: nn.Module) -> list[str]:
    """Names of the layers that carry LoRA and of the modules trained in full."""
    if isinstance(adapted, PeftModel):
        alignment = [f"trunk.{NAME}"] if hasattr(adapted.trunk, NAME) else []
        return [*adapted.targeted_module_names, *(adapted.peft_config["default"].modules_to_save or []), *alignment]
    return list(dict.fromkeys(name.rpartition(".")[0] for name in trained_parameters(adapted)))


def save_adapter(adapted: nn.Module, folder: Path) -> None:
    """Write peft's adapter_model.safetensors and adapter_config.json, or trained.safetensors of mode full; of a model
    that reads alignments alignment.safetensors too."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(adapted.trunk, NAME):
        save_alignment(adapted, folder)
    if isinstance(adapted, PeftModel):
        adapted.save_pretrained(folder)
        (folder / "README.md").unlink()  # peft's empty template of a model card
        return
    with whole_file(folder / FULL) as temporary:
        state = trained_state(adapted).items()
        save_file({name: value for name, value in state if not name.startswith(f"trunk.{NAME}.")}, temporary)


def save_alignment(model: nn.Module, folder: Path) -> None:
    """Write the AlignmentAdapter of a model that has one as alignment.safetensors."""
    with whole_file(Path(folder, ALIGNMENT_WEIGHTS)) as temporary:
        save_file(getattr(model.trunk, NAME).state_dict(), temporary)


def load_adapter(model: EsmForProteinFolding, folder: Path) -> nn.Module:
    """The model with what `save_adapter` wrote, LoRA unmerged (merging would change the last bits), in eval mode.

    In the model's own folder that is the alignment adapter it was trained with. AdapterError where there is none.
    """
    if Path(folder, ALIGNMENT_WEIGHTS).is_file():
        state = read_checkpoint(Path(folder, ALIGNMENT_WEIGHTS))
        AlignmentAdapter(model, int(state["block"])).load_state_dict(state)
    path = Path(folder, FULL)
    if Path(folder, CONFIG_NAME).is_file():
        return PeftModel.from_pretrained(model, folder).eval()
    if not path.is_file():
        is_model = Path(folder, "config.json").is_file()
        if not (is_model and hasattr(model.trunk, NAME)):
            wanted = ALIGNMENT_WEIGHTS if is_model else f"{CONFIG_NAME} or {FULL}"
            raise AdapterError(f"{folder}: no adapter ({wanted})")
        return model.eval()
    state = read_checkpoint(path)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in state)
    load_trained_state(model, state)
    return model.eval()

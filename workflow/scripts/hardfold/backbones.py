"""ESM-2 and ESM-MSA-1b through fair-esm, from and to files in the official layout.

Loading stays weights_only: of all that a pickle can hold, only tensors and argparse.Namespace are let in. fair-esm
loads strictly, so a missing or an unexpected key is an error, never a silently random layer.
"""

import argparse
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path

import esm
import torch
from torch import Tensor, nn

from hardfold.tables import whole_file


def load(path: Path) -> tuple[nn.Module, esm.Alphabet]:
    """(model in eval mode, alphabet) of a .pt file; `<stem>-contact-regression.pt` must lie beside it.

    The file's stem decides the architecture, as in fair-esm: `esm2...` is ESM-2, `esm_msa...` an MSA Transformer.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            model, alphabet = esm.pretrained.load_model_and_alphabet_local(str(path))
    except (OSError, RuntimeError) as fault:
        raise RuntimeError(f"{path} cannot be loaded: {fault}") from fault
    logging.info("%s: %d tensors loaded, none missing, none unexpected", path, len(model.state_dict()))
    return model.eval(), alphabet


def build_esm2(layers: int, dim: int, heads: int) -> tuple[esm.ESM2, esm.Alphabet]:
    """An untrained ESM-2, initialised for training from scratch."""
    alphabet = esm.Alphabet.from_architecture("ESM-1b")
    model = esm.ESM2(layers, dim, heads, alphabet, token_dropout=True)
    return initialise(model, layers), alphabet


def build_esm_msa(layers: int, dim: int, heads: int) -> tuple[esm.MSATransformer, esm.Alphabet]:
    """An untrained MSA Transformer of the ESM-MSA-1b layout (1,024 rows and columns), initialised for training."""
    alphabet = esm.Alphabet.from_architecture("msa_transformer")
    arguments = argparse.Namespace(
        layers=layers, embed_dim=dim, ffn_embed_dim=4 * dim, attention_heads=heads,
        dropout=0.1, attention_dropout=0.1, activation_dropout=0.1,
        max_tokens=2**14, max_positions=1024, embed_positions_msa=True, embed_positions_msa_dim=dim, logit_bias=True,
    )  # fmt: skip
    return initialise(esm.MSATransformer(arguments, alphabet), layers), alphabet


def initialise(model: nn.Module, layers: int) -> nn.Module:
    """Draw weights N(0, 0.02), residual outputs scaled by 1/sqrt(2 layers) (GPT-2): fair-esm's own draw diverges."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() > 1:
            residual = name.endswith(("out_proj.weight", "fc2.weight"))
            nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * layers) if residual else 1))
    with torch.no_grad():
        model.embed_tokens.weight[model.padding_idx].zero_()
    return model


def save(model: nn.Module, path: Path, half: bool = False) -> None:
    """Write `path` and its contact regression in the official layout, which fair-esm's own loader reads.

    half: store matrices as float16 (the loader widens them again); frequencies of the rotary embedding stay exact.
    """
    is_msa = isinstance(model, esm.MSATransformer)
    state, stored = {}, {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in stored:  # tied weights are stored once
            exact = not half or name.endswith("inv_freq")
            stored[tensor.data_ptr()] = tensor.detach().clone() if exact else tensor.detach().half()
        state[name] = stored[tensor.data_ptr()]
    regression = {name: state.pop(name) for name in list(state) if name.startswith("contact_head.")}
    prefixed = {
        f"encoder.{'' if name.startswith('lm_head') else 'sentence_encoder.'}{_swap(name) if is_msa else name}": value
        for name, value in state.items()
    }
    if is_msa:
        own = vars(model.args)
        arguments = {f"encoder_{key}" if key in _ENCODER_ARGUMENTS else key: value for key, value in own.items()}
        contents = {"args": argparse.Namespace(arch="msa_transformer", **arguments), "model": prefixed}
    else:
        settings = argparse.Namespace(
            encoder_layers=model.num_layers,
            encoder_embed_dim=model.embed_dim,
            encoder_attention_heads=model.attention_heads,
            token_dropout=model.token_dropout,
        )
        contents = {"cfg": {"model": settings}, "model": prefixed}
    regression_path = Path(path).with_name(f"{Path(path).stem}-contact-regression.pt")
    for file, content in ((Path(path), contents), (regression_path, {"model": regression})):
        # By handle: by name torch would write the temporary name, and with it the process, into the file.
        with whole_file(file) as temporary, open(temporary, "wb") as handle:
            torch.save(content, handle)


_ENCODER_ARGUMENTS = {"layers", "embed_dim", "ffn_embed_dim", "attention_heads"}


def _swap(name: str) -> str:
    """The released ESM-MSA-1b names its row attention column and the reverse; the loader swaps them back."""
    return name.replace("row", "column") if "row" in name else name.replace("column", "row")


# fair-esm's name of each part of ESM-2 -> transformers' name, both ways (verified by equal outputs in the tests).
_PARTS = [
    ("embed_tokens.", "esm.embeddings.word_embeddings."),
    ("emb_layer_norm_after.", "esm.encoder.emb_layer_norm_after."),
    ("lm_head.weight", "lm_head.decoder.weight"),
    ("lm_head.bias", "lm_head.bias"),
    ("lm_head.", "lm_head."),
    ("layers.", "esm.encoder.layer."),
    (".self_attn.q_proj.", ".attention.self.query."),
    (".self_attn.k_proj.", ".attention.self.key."),
    (".self_attn.v_proj.", ".attention.self.value."),
    (".self_attn.out_proj.", ".attention.output.dense."),
    (".self_attn_layer_norm.", ".attention.LayerNorm."),
    (".fc1.", ".intermediate.dense."),
    (".fc2.", ".output.dense."),
    (".final_layer_norm.", ".LayerNorm."),
]


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """fair-esm's ESM-2 state -> that of transformers' EsmForMaskedLM, without contact head and rotary frequencies."""
    return {_rename(name, _PARTS): value for name, value in state.items() if not _is_constant(name)}


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of transformers' EsmForMaskedLM -> fair-esm's, without contact head and rotary frequencies."""
    parts = [(theirs, ours) for ours, theirs in _PARTS]
    return {_rename(name, parts): value for name, value in state.items() if not _is_constant(name)}


def _is_constant(name: str) -> bool:
    return "contact_head" in name or "inv_freq" in name


def _rename(name: str, parts: list[tuple[str, str]]) -> str:
    for old, new in parts:
        if name.startswith(old) and not old.startswith("."):
            name = new + name.removeprefix(old)
            break
    for old, new in parts:
        # Inner parts are matched after the block number: `.attention.LayerNorm.` before `.LayerNorm.`.
        if old.startswith(".") and re.search(r"\d" + re.escape(old), name):
            return name.replace(old, new)
    return name

"""The ESMFold architecture of transformers: built, initialised, loaded, saved and fed.

Lin et al. 2023 (ESMFold), Jumper et al. 2021 (AlphaFold2). Shapes: B batch, L residues.
"""

import logging
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import EsmConfig, EsmForProteinFolding
from transformers.models.esm.configuration_esm import get_default_vocab_list
from transformers.models.esm.modeling_esmfold import EsmFoldLinear
from transformers.utils import logging as transformers_logging

from hardfold.folding.alignment import NAME
from hardfold.folding.fused import fuse
from hardfold.tables import whole_file, write_json
from hardfold.weights import FOLDING_WEIGHTS

# AlphaFold2's residue order; anything else is X.
ALPHABET = "ARNDCQEGHILKMFPSTWYV"
UNKNOWN = len(ALPHABET)
# The stem's contact head takes no part in folding, and released checkpoints lack it.
UNUSED = "esm.contact_head."
SHARD_BYTES = 15_000_000  # of a file of weights


class ModelError(ValueError):
    """A folding model that cannot be used; the message names the folder or residue and the fault."""


def folding_config(stem: dict, trunk: dict, confidence_width: int = 128) -> EsmConfig:
    """The configuration of an ESMFold model in fp32 without dropout.

    stem: num_hidden_layers, hidden_size, num_attention_heads of the ESM-2. trunk: what differs from TrunkConfig's
    defaults (num_blocks, sequence_state_dim, pairwise_state_dim, ..., structure_module).
    """
    return EsmConfig(
        **{"intermediate_size": 4 * stem["hidden_size"], **stem},
        vocab_size=33,
        vocab_list=get_default_vocab_list(),
        pad_token_id=1,
        mask_token_id=32,
        position_embedding_type="rotary",
        token_dropout=True,
        emb_layer_norm_before=False,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        use_cache=False,
        is_folding_model=True,
        esmfold_config={
            "fp16_esm": False,
            "lddt_head_hid_dim": confidence_width,
            "trunk": {**trunk, "dropout": 0.0, "structure_module": {"dropout_rate": 0.0, **trunk["structure_module"]}},
        },
    )


def tiny_config() -> EsmConfig:
    """A model of about 20,000 parameters for tests."""
    structure_module = {
        "sequence_dim": 8,
        "pairwise_dim": 4,
        "ipa_dim": 4,
        "resnet_dim": 8,
        "num_heads_ipa": 2,
        "num_qk_points": 2,
        "num_v_points": 2,
        "num_blocks": 2,
    }
    trunk = {
        "num_blocks": 2,
        "sequence_state_dim": 8,
        "pairwise_state_dim": 4,
        "sequence_head_width": 4,
        "pairwise_head_width": 2,
        "max_recycles": 1,
        "structure_module": structure_module,
    }
    return folding_config(
        {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2}, trunk, confidence_width=8
    )


def build_model(config: EsmConfig | dict) -> EsmForProteinFolding:
    """A model with random weights, initialised as AlphaFold2 is (the stem: N(0, 0.02)), without dropout."""
    model = EsmForProteinFolding(_without_dropout(config if isinstance(config, EsmConfig) else EsmConfig(**config)))
    initialise(model)
    return model


def _without_dropout(config: EsmConfig) -> EsmConfig:
    """Dropout off and the stem in fp32: the library's default halves the stem, whatever dtype is asked for."""
    config.esmfold_config.fp16_esm = False
    config.esmfold_config.esm_input_dropout = 0.0
    config.esmfold_config.trunk.dropout = 0.0
    config.esmfold_config.trunk.structure_module.dropout_rate = 0.0
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
    return config


@torch.no_grad()
def initialise(model: EsmForProteinFolding) -> None:
    """Give everything but the stem AlphaFold2's initialisation (supplement 1.11.4), which the library never applies.

    The library redraws each weight from N(0, 0.02). Here PyTorch's defaults come back; then outputs that are added to
    a residual stream start at zero, gates open (bias 1), and the backbone update at zero: all residues at the origin.
    """
    for name, module in model.named_modules():
        if name == "esm" or name.startswith("esm."):
            continue
        if isinstance(module, nn.Linear | nn.Embedding | nn.LayerNorm):
            module.reset_parameters()
        if isinstance(module, EsmFoldLinear) and module.init in ("final", "gating"):
            nn.init.zeros_(module.weight)
            nn.init.constant_(module.bias, float(module.init == "gating"))
    for block in model.trunk.blocks:
        gate = block.seq_attention.g_proj
        nn.init.zeros_(gate.weight)
        nn.init.ones_(gate.bias)
        outputs = [block.seq_attention.o_proj, block.sequence_to_pair.o_proj, block.pair_to_sequence.linear]
        for output in [*outputs, block.mlp_seq.mlp[3], block.mlp_pair.mlp[3]]:
            nn.init.zeros_(output.weight)
            if output.bias is not None:
                nn.init.zeros_(output.bias)
    nn.init.zeros_(model.trunk.recycle_disto.weight[0])
    nn.init.zeros_(model.esm_s_combine)
    # softplus(0.5413) = 1: every head starts with the same weight on distances (algorithm 22).
    nn.init.constant_(model.trunk.structure_module.ipa.head_weights, 0.541324854612918)


def load_model(folder: Path) -> tuple[EsmForProteinFolding, dict]:
    """The model of `folder` in fp32 and eval mode, its trunk fused (hardfold.folding.fused), and what its files held.

    The folder holds config.json and, as transformers names and reads them, model.safetensors or pytorch_model.bin (read
    weights_only), whole or as the shards of an index: ours, or the released ESMFold (facebook/esmfold_v1). Returns
    (model, {"loaded": count, "missing": [names], "unexpected": [names]}). ModelError where the folder lacks a file, is
    no folding model, or a weight that folding needs is missing or has another shape.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: config.json is missing")
    if not any((folder / name).is_file() for name in FOLDING_WEIGHTS):
        raise ModelError(f"{folder}: none of {', '.join(FOLDING_WEIGHTS)} is there")
    config = EsmConfig.from_pretrained(folder)
    if not config.is_folding_model:
        raise ModelError(f"{folder}: config.json does not describe a folding model (is_folding_model)")
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its table of keys repeats what is checked and reported here
    transformers_logging.disable_progress_bar()
    try:
        model, info = EsmForProteinFolding.from_pretrained(
            folder,
            config=_without_dropout(config),
            dtype=torch.float32,
            local_files_only=True,
            weights_only=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    except (SafetensorError, UnpicklingError, struct.error, OSError, RuntimeError) as fault:
        raise ModelError(f"{folder}: {fault}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
    if mismatched := sorted(info["mismatched_keys"]):
        name, stored, asked = mismatched[0]
        raise ModelError(f"{folder}: {name} is {tuple(stored)} in the weights, {tuple(asked)} by config.json")
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if needed := [name for name in missing if not name.startswith(UNUSED)]:
        raise ModelError(f"{folder}: the weights lack {len(needed)} tensors, {needed[0]} among them")
    report = {"loaded": len(model.state_dict()) - len(missing), "missing": missing, "unexpected": unexpected}
    named = "; ".join(f"{kind}: {', '.join(report[kind]) or 'none'}" for kind in ("missing", "unexpected"))
    logging.info("%s: %d tensors loaded; %s", folder, report["loaded"], named)
    fuse(model)
    return model.eval(), report


def save_model(model: EsmForProteinFolding, folder: Path, half: bool = False) -> None:
    """Write config.json and model.safetensors, or shards of at most 15 MB and their index where that would be larger.

    half: store floating-point weights in fp16.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        # The rotary embedding's frequencies stay exact: rounded, they are another position encoding.
        state = {
            name: tensor.half() if tensor.is_floating_point() and not name.endswith("inv_freq") else tensor
            for name, tensor in state.items()
        }
    split = split_torch_state_dict_into_shards(state, max_shard_size=SHARD_BYTES)
    for name, members in split.filename_to_tensors.items():
        with whole_file(folder / name) as temporary:
            save_file({member: state[member] for member in members}, temporary, metadata={"format": "pt"})
    if split.is_sharded:
        write_json(
            folder / "model.safetensors.index.json",
            {"metadata": split.metadata, "weight_map": split.tensor_to_filename},
        )
    config = EsmConfig.from_dict(model.config.to_dict())
    config.architectures = ["EsmForProteinFolding"]
    with whole_file(folder / "config.json") as temporary:
        config.to_json_file(temporary)


def encode(sequences: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """aatype, mask and residue_index, each (B, L) long, padded on the right: the model's three inputs."""
    aatype = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    mask = torch.zeros_like(aatype)
    for row, sequence in enumerate(sequences):
        codes = [code if (code := ALPHABET.find(residue)) >= 0 else UNKNOWN for residue in sequence]
        aatype[row, : len(codes)] = torch.tensor(codes)
        mask[row, : len(codes)] = 1
    return aatype, mask, torch.arange(aatype.shape[1]).expand_as(aatype)


def to_device(batch: Mapping, place: torch.device) -> dict:
    """The batch with its tensors on `place`."""
    return {name: value.to(place) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def place(model: EsmForProteinFolding, target: torch.device, half_stem: bool) -> None:
    """Move the model to its device; with `half_stem` its language model computes in fp16, on a GPU only."""
    model.to(target)
    if half_stem and target.type == "cuda":
        rotary = model.esm.rotary_embeddings
        frequencies = rotary.inv_freq  # exact, as above
        model.esm.half()
        rotary.inv_freq = frequencies


def fold(model: nn.Module, batch: Mapping, recycles: int, chunk_size: int = 0):
    """The model's output for a batch after `recycles` + 1 passes; only the last has gradients.

    batch: `encode`'s aatype, mask and residue_index; of a model with an alignment adapter profile and couplings too.

    chunk_size: rows at a time of triangle attention, 0 for all: less memory, a little slower, for inference on a GPU.
    On a CPU a fused trunk takes few rows at a time as it is.
    """
    model.trunk.set_chunk_size(chunk_size or None)
    if adapter := getattr(model.trunk, NAME, None):
        adapter.read = batch["profile"], batch["couplings"]
    return model(
        batch["aatype"],
        attention_mask=batch["mask"],
        position_ids=batch["residue_index"],
        num_recycles=recycles,
    )


def checkpoint_blocks(model: EsmForProteinFolding) -> None:
    """Recompute each trunk block in the backward pass: the same gradients, half the memory, a third more time."""
    for block in model.trunk.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def keep_precision(model: EsmForProteinFolding) -> None:
    """Under autocast the stem keeps its own precision, and the structure module fp32: coordinates of 100 angstrom
    would come in steps of half an angstrom in bf16."""
    model.esm.forward = partial(_without_autocast, model.esm.forward)
    structure_module = model.trunk.structure_module
    structure_module.forward = partial(_structure_in_fp32, structure_module.forward)


def _without_autocast(forward, *arguments, **settings):
    with torch.autocast(arguments[0].device.type, enabled=False):
        return forward(*arguments, **settings)


def _structure_in_fp32(forward, states, *arguments):
    with torch.autocast(states["single"].device.type, enabled=False):
        return forward({name: state.float() for name, state in states.items()}, *arguments)

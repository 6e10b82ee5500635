"""The memory that folding or training on a chain takes, estimated before the work begins.

Counted in tensors over pairs (L, L, pair width) and, on a GPU, over triples (L, L, L, heads), fp32, which outgrow all
else; of the language model in tensors over tokens and over pairs of them. How many was measured on a CPU
(docs/benchmarks/folding_memory.md), for a trunk that is fused; the triples follow from what torch's kernels are given.
L residues.
"""

from collections.abc import Mapping
from pathlib import Path

import psutil
import torch
from transformers import EsmConfig, EsmForProteinFolding

BYTES = 4


class TooLong(MemoryError):
    """A chain that does not fit into the memory there is; the message names it."""


def inference_bytes(config: EsmConfig, length: int, chunk_size: int, place: torch.device) -> int:
    """Beside the weights, to fold one chain: what a block, its triangle attention or the stem holds at once."""
    pairs, triples = _tensors(config, length, chunk_size, place)
    stem = 2 * BYTES * (config.num_hidden_layers + 1) * config.hidden_size * length
    return int(max(13 * pairs, 9 * pairs + 2 * triples, stem))


def training_bytes(
    config: EsmConfig, length: int, place: torch.device, *, batch_size: int, blocks: int, checkpointing: bool
) -> int:
    """Beside the weights, for a step on crops of `length` that trains the last `blocks` trunk blocks."""
    pairs, triples = _tensors(config, length, 0, place)
    block = 58 * pairs + 2 * triples
    kept = block + 4 * blocks * pairs if checkpointing else blocks * block
    return batch_size * (int(20 * pairs + kept) + inference_bytes(config, length, 0, place))


def stem_training_bytes(config: EsmConfig, length: int, batch_size: int) -> int:
    """Beside the weights, for a step of LoRA on all layers of the language model, on so many copies of a sequence."""
    tokens = length + 2
    layer = 30 * config.hidden_size * tokens + config.num_attention_heads * tokens**2
    return BYTES * batch_size * config.num_hidden_layers * layer


def _tensors(config, length, chunk_size, place):
    trunk = config.esmfold_config.trunk
    heads = trunk.pairwise_state_dim // trunk.pairwise_head_width
    rows = min(chunk_size or length, length) if place.type == "cuda" else 0  # a CPU takes few at a time, see `fused`
    return BYTES * trunk.pairwise_state_dim * length**2, BYTES * heads * length**2 * rows


def free_bytes(place: torch.device) -> int:
    """What can still be had there: on the GPU, or on this machine within the limit of its container."""
    if place.type == "cuda":
        unused = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
        return torch.cuda.mem_get_info(place)[0] + unused
    free, group = psutil.virtual_memory().available, Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return free
    return min(free, limit - used)


def require_inference(model: EsmForProteinFolding, lengths: Mapping[str, int], chunk_size: int) -> None:
    """Raise TooLong, naming the longest chain, unless all of them (id -> residues) can be folded."""
    place = _place(model)
    chunks_help = place.type == "cuda" and chunk_size != 1
    advice = "a smaller folding.chunk_size takes less" if chunks_help else "leave it out"
    _require(model, lengths, lambda length: inference_bytes(model.config, length, chunk_size, place), "folding", advice)


def require_training(model: EsmForProteinFolding, lengths: Mapping[str, int], settings: Mapping, blocks: int) -> None:
    """Raise TooLong, naming the longest chain, unless the model can be trained on batches of their crops.

    lengths: id -> residues; settings: the configuration's training; blocks: how many are trained.
    """
    cropped = {id: min(length, settings["crop"]) for id, length in lengths.items()}
    size, place = settings["batch_size"], _place(model)
    trained = {"batch_size": size, "blocks": blocks, "checkpointing": settings["activation_checkpointing"]}
    advice = "a smaller crop or batch_size, or activation_checkpointing, takes less"

    def needed(length):
        return training_bytes(model.config, length, place, **trained)

    _require(model, cropped, needed, f"training on batches of {size} times", advice)


def require_stem_training(model: EsmForProteinFolding, lengths: Mapping[str, int], batch_size: int) -> None:
    """Raise TooLong, naming the longest chain, unless the language model can be trained on `batch_size` copies of each
    (id -> residues)."""
    advice = "a smaller folding.test_time.batch_size takes less" if batch_size > 1 else "leave it out"

    def needed(length):
        return stem_training_bytes(model.config, length, batch_size)

    _require(model, lengths, needed, f"adapting the language model to {batch_size} copies of", advice)


def _place(model):
    return next(model.parameters()).device


def _require(model, lengths, needed, what, advice):
    free = free_bytes(_place(model))
    if too_long := [id for id, length in lengths.items() if needed(length) > free]:
        id = max(too_long, key=lengths.get)
        others = f" (and {len(too_long) - 1} more chains)" if len(too_long) > 1 else ""
        raise TooLong(
            f"{id}{others}: {what} {lengths[id]} residues needs about {needed(lengths[id]) / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; {advice}"
        )

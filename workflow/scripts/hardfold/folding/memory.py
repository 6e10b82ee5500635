"""The memory that folding or training on a chain takes, estimated before the work begins.

Counted in tensors over pairs (L, L, pair width) and over triples (L, L, L, heads), fp32, which outgrow all else. How
many was measured on a CPU (docs/benchmarks/folding_memory.md): folding came within 10 % of the process's peak, training
within 20 % where single tensors were a megabyte and more; smaller ones, which the allocator scatters, took up to twice
what is counted. L residues.
"""

from collections.abc import Mapping
from pathlib import Path

import psutil
import torch
from transformers import EsmConfig, EsmForProteinFolding

BYTES = 4


class TooLong(MemoryError):
    """A chain that does not fit into the memory there is; the message names it."""


def inference_bytes(config: EsmConfig, length: int, chunk_size: int) -> int:
    """Beside the weights, to fold one chain: what a block, its triangle attention or the stem holds at once."""
    pairs, triples = _tensors(config, length, chunk_size)
    stem = 2 * BYTES * (config.num_hidden_layers + 1) * config.hidden_size * length
    return int(max(12.5 * pairs, 9 * pairs + 2 * triples, stem))


def training_bytes(config: EsmConfig, length: int, *, batch_size: int, blocks: int, checkpointing: bool) -> int:
    """Beside the weights, for a step on crops of `length` that trains the last `blocks` trunk blocks."""
    pairs, triples = _tensors(config, length, 0)
    block = 62 * pairs + 2 * triples
    kept = block + 4 * blocks * pairs if checkpointing else blocks * block
    return batch_size * (int(20 * pairs + kept) + inference_bytes(config, length, 0))


def _tensors(config, length, chunk_size):
    trunk = config.esmfold_config.trunk
    heads = trunk.pairwise_state_dim // trunk.pairwise_head_width
    pairs = BYTES * trunk.pairwise_state_dim * length**2
    return pairs, BYTES * heads * length**2 * min(chunk_size or length, length)


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
    advice = "a smaller folding.chunk_size takes less" if chunk_size != 1 else "leave it out"
    _require(model, lengths, lambda length: inference_bytes(model.config, length, chunk_size), "folding", advice)


def require_training(model: EsmForProteinFolding, lengths: Mapping[str, int], settings: Mapping, blocks: int) -> None:
    """Raise TooLong, naming the longest chain, unless the model can be trained on batches of their crops.

    lengths: id -> residues; settings: the configuration's training; blocks: how many are trained.
    """
    cropped = {id: min(length, settings["crop"]) for id, length in lengths.items()}
    size, checkpointing = settings["batch_size"], settings["activation_checkpointing"]

    def needed(length):
        return training_bytes(model.config, length, batch_size=size, blocks=blocks, checkpointing=checkpointing)

    advice = "a smaller crop or batch_size, or activation_checkpointing, takes less"
    _require(model, cropped, needed, f"training on batches of {size} times", advice)


def _require(model, lengths, needed, what, advice):
    free = free_bytes(next(model.parameters()).device)
    if too_long := [id for id, length in lengths.items() if needed(length) > free]:
        id = max(too_long, key=lengths.get)
        others = f" (and {len(too_long) - 1} more chains)" if len(too_long) > 1 else ""
        raise TooLong(
            f"{id}{others}: {what} {lengths[id]} residues needs about {needed(lengths[id]) / 1e9:.1f} GB of memory, "
            f"{free / 1e9:.1f} GB are free; {advice}"
        )

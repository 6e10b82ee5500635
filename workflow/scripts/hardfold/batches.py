"""Batches of chains: length buckets, crops, windows, tokens, padding. B batch, L residues, R alignment rows."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

_BUCKET = 8  # batches whose chains are sorted by length together: little padding, and still a random order

# (index of the chain, first residue of its crop or window; None: there only to keep a process busy, see `share`)
Batch = list[tuple[int, int | None]]


def plan_epoch(
    lengths: Sequence[int],
    batch_size: int,
    max_length: int,
    generator: np.random.Generator,
    *,
    max_tokens: int | None = None,
    truncate: bool = False,
) -> list[Batch]:
    """One training epoch: every chain once, in batches of like lengths, cropped to `max_length` residues at random, or
    to its first ones (`truncate`). A batch holds at most `max_tokens` residues with its padding, or one chain.
    """
    order = generator.permutation(len(lengths))
    starts = [0 if truncate else int(generator.integers(max(1, length - max_length + 1))) for length in lengths]
    batches = []
    for first in range(0, len(order), _BUCKET * batch_size):
        bucket = [(int(i), starts[i]) for i in order[first : first + _BUCKET * batch_size]]
        batches += _fill(bucket, lengths, max_length, batch_size, max_tokens)
    return [batches[b] for b in generator.permutation(len(batches))]


def plan_windows(
    lengths: Sequence[int], batch_size: int, max_length: int, *, step: int | None, max_tokens: int | None = None
) -> list[Batch]:
    """Every window of every chain once, shortest first, a chain's one after the other; batches as in `plan_epoch`."""
    windows = [(i, start) for i, length in enumerate(lengths) for start in window_starts(length, max_length, step)]
    return _fill(windows, lengths, max_length, batch_size, max_tokens)


def window_starts(length: int, max_length: int, step: int | None) -> list[int]:
    """First residues of the windows of `max_length` that cover a chain: one every `step`, the last one at the chain's
    end; without a step the first alone."""
    last = max(0, length - max_length)
    return [0] if step is None else [*range(0, last, step), last]


def share(plan: Iterable[Batch], rank: int, ranks: int) -> list[Batch]:
    """What one of several processes takes of each batch, every so many crops one, so that all have as many batches.

    A batch with less crops than processes gives the others its first chain, to be run without its truth.
    """
    return [batch[rank::ranks] or [(batch[0][0], None)] for batch in plan]


def share_chains(plan: Iterable[Batch], rank: int, ranks: int) -> list[Batch]:
    """What one of several processes takes of windows: those of every so many chains one."""
    own = ([(index, start) for index, start in batch if index % ranks == rank] for batch in plan)
    return [batch for batch in own if batch]


def _fill(crops: Iterable[tuple[int, int]], lengths, max_length, batch_size, max_tokens) -> list[Batch]:
    """Crops sorted by length, cut into batches; the last of a batch is its longest."""
    batches = []
    for index, start in sorted(crops, key=lambda crop: min(lengths[crop[0]], max_length)):
        size = min(lengths[index], max_length)
        is_full = not batches or len(batches[-1]) == batch_size
        if is_full or (max_tokens is not None and size * (len(batches[-1]) + 1) > max_tokens):
            batches.append([])
        batches[-1].append((index, start))
    return batches


def tokenize(letters: np.ndarray, alphabet) -> Tensor:
    """uint8 ASCII (..., L) -> the alphabet's tokens (..., L + BOS + EOS) int64; a letter it does not know is <unk>."""
    table = np.array([alphabet.get_idx(chr(code)) for code in range(256)])
    tokens = torch.from_numpy(table[letters])
    ends = (*tokens.shape[:-1], 1)
    first = [tokens.new_full(ends, alphabet.cls_idx)] if alphabet.prepend_bos else []
    last = [tokens.new_full(ends, alphabet.eos_idx)] if alphabet.append_eos else []
    return torch.cat([*first, tokens, *last], dim=-1)


def pad(tensors: Sequence[Tensor], value: float, dims: int = 1) -> Tensor:
    """Stack tensors whose first `dims` dimensions differ in size, filled up with `value`: (B, largest..., the rest)."""
    sizes = [max(tensor.shape[d] for tensor in tensors) for d in range(dims)]
    padded = tensors[0].new_full((len(tensors), *sizes, *tensors[0].shape[dims:]), value)
    for target, tensor in zip(padded, tensors, strict=True):
        target[tuple(slice(size) for size in tensor.shape[:dims])] = tensor
    return padded

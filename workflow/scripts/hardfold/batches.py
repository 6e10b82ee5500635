"""Batches of chains: length buckets, random crops, tokens, padding. B batch, L residues, R alignment rows."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_BUCKET = 8  # batches whose chains are sorted by length together: little padding, and still a random order


def plan_epoch(
    lengths: Sequence[int], batch_size: int, max_length: int, generator: np.random.Generator
) -> list[list[tuple[int, int]]]:
    """One training epoch: every chain once, in batches of like lengths, as (index, start of its crop)."""
    order = generator.permutation(len(lengths))
    starts = [int(generator.integers(max(1, length - max_length + 1))) for length in lengths]
    batches = []
    for first in range(0, len(order), _BUCKET * batch_size):
        bucket = sorted(order[first : first + _BUCKET * batch_size], key=lambda i: min(lengths[i], max_length))
        batches += [bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size)]
    return [[(int(i), starts[i]) for i in batches[b]] for b in generator.permutation(len(batches))]


def plan_whole(lengths: Sequence[int], residues: int) -> list[list[tuple[int, int]]]:
    """Each chain uncropped, once, shortest first; a batch holds at most `residues` with its padding, or one chain."""
    batches, longest = [], 0
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        longest = max(longest, lengths[index])
        if batches and longest * (len(batches[-1]) + 1) <= residues:
            batches[-1].append((index, 0))
        else:
            batches.append([(index, 0)])
            longest = lengths[index]
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

"""The factorised pair head against nn.Bilinear over expanded pairs: seconds of one process in one run, as a ratio."""

import time

import pytest
import torch
from torch import nn

from hardfold.contact.model import PairHead

pytestmark = pytest.mark.benchmark
BATCH, LENGTH, DIM, REPEATS = 8, 50, 64, 5


def seconds(forward, x) -> float:
    """The median time of a forward and backward pass, after one to warm up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        forward(x).sum().backward()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[REPEATS // 2]


def test_pair_head_against_expanded_bilinear():
    torch.set_num_threads(1)
    x = torch.randn(BATCH, LENGTH, DIM, requires_grad=True)
    bilinear = nn.Bilinear(DIM, DIM, 1)

    def expanded(x):
        left = x[:, :, None].expand(-1, -1, LENGTH, -1).contiguous()
        right = x[:, None].expand(-1, LENGTH, -1, -1).contiguous()
        return bilinear(left, right)

    ours, theirs = seconds(PairHead(DIM, 1), x), seconds(expanded, x)
    print(f"\npair head, B={BATCH} L={LENGTH} D={DIM}: {theirs / ours:.0f} times as fast as expanded nn.Bilinear")

"""The trunk's pair updates with fewer passes over memory, and attention without its scores in memory: same outputs.

Triangle attention of L residues has H L^3 scores, which transformers' module keeps several times over. On a GPU torch's
fused kernels keep no more of them than their bias. On a CPU those kernels give no gradient for the bias, so rows are
taken few at a time, few enough for the cache, and the scores are computed again in the backward pass (Dao et al. 2022;
Rabe & Staats 2021).
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import EsmForProteinFolding

CACHE = 2**18  # scores at a time: 1 MB in fp32


def fuse(model: EsmForProteinFolding) -> None:
    """Let the trunk's blocks compute by the functions below."""
    for block in model.trunk.blocks:
        block.seq_attention.forward = partial(sequence_attention, block.seq_attention)
        for module in (block.tri_mul_out, block.tri_mul_in):
            module.forward = partial(triangle_multiplication, module)
        for module in (block.tri_att_start, block.tri_att_end):
            module.forward = partial(triangle_attention, module)


def triangle_attention(module: nn.Module, x: Tensor, mask: Tensor, chunk_size: int | None = None) -> Tensor:
    """EsmFoldTriangleAttention.forward, pair state (B, L, L, C) and mask (B, L, L)."""
    if not module.starting:
        x, mask = x.transpose(1, 2), mask.transpose(1, 2)
    x = module.layer_norm(x)
    heads, attention = module.no_heads, module.mha
    query, key, value = (
        linear(x).unflatten(-1, (heads, -1)).transpose(2, 3)  # (B, L, H, L, c)
        for linear in (attention.linear_q, attention.linear_k, attention.linear_v)
    )
    bias = module.linear(x).permute(0, 3, 1, 2)  # (B, H, L, L), of every row
    hidden = None if _is_full(mask) else module.inf * (mask - 1)
    output = row_attention(query * attention.c_hidden**-0.5, key, value, bias, hidden, chunk_size)
    output = output.transpose(2, 3) * attention.linear_g(x).sigmoid().unflatten(-1, (heads, -1))
    output = attention.linear_o(output.flatten(-2))
    return output if module.starting else output.transpose(1, 2)


def triangle_multiplication(module: nn.Module, z: Tensor, mask: Tensor) -> Tensor:
    """EsmFoldTriangleMultiplicativeUpdate.forward, pair state (B, L, L, C) and mask (B, L, L)."""
    z = module.layer_norm_in(z)
    left = module.linear_a_g(z).sigmoid() * module.linear_a_p(z)
    right = module.linear_b_g(z).sigmoid() * module.linear_b_p(z)
    if not _is_full(mask):
        left, right = left * mask[..., None], right * mask[..., None]
    left, right = left.permute(0, 3, 1, 2), right.permute(0, 3, 1, 2)  # (B, C, L, L)
    product = left @ right.transpose(2, 3) if module._outgoing else left.transpose(2, 3) @ right
    return module.linear_z(module.layer_norm_out(product.permute(0, 2, 3, 1))) * module.linear_g(z).sigmoid()


def _is_full(mask: Tensor) -> bool:
    """Whether nothing is padded; a GPU, which would have to be waited for, is not asked."""
    return mask.device.type == "cpu" and bool(mask.all())


def sequence_attention(module: nn.Module, x: Tensor, mask: Tensor, bias: Tensor) -> tuple[Tensor, None]:
    """EsmFoldSelfAttention.forward, (B, L, C) with a bias of pairs (B, L, L, H), without the attention maps."""
    query, key, value = module.proj(x).unflatten(-1, (module.num_heads, -1)).transpose(1, 2).chunk(3, dim=-1)
    bias = bias.permute(0, 3, 1, 2).masked_fill(~mask.bool()[:, None, None], -torch.inf)
    output = functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
    output = output.transpose(1, 2).flatten(2)
    return module.o_proj(module.g_proj(x).sigmoid() * output), None


def row_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, hidden: Tensor | None, chunk_size: int | None = None
) -> Tensor:
    """Attention within each row i of (B, I, H, J, c), scaled already, with a bias (B, H, J, J) that the rows share and
    one of keys (B, I, J), without a gradient, or none. chunk_size: rows at a time, on a GPU; none: all."""
    if query.device.type == "cpu":
        return _Rows.apply(query, key, value, bias, hidden)
    return kernel_attention(query, key, value, bias, hidden, chunk_size or query.shape[1])


def kernel_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, hidden: Tensor | None, size: int
) -> Tensor:
    """`row_attention` by torch's own kernels, which are given the biases of all scores of `size` rows at a time."""
    output = []
    for first in range(0, query.shape[1], size):
        rows = slice(first, first + size)
        queries, keys, values = (part[:, rows] for part in (query, key, value))
        scores = bias[:, None] if hidden is None else bias[:, None] + hidden[:, rows, None, None].to(bias.dtype)
        scores = scores.to(query.dtype).expand(*queries.shape[:-1], key.shape[-2])
        parts = (part.flatten(0, 1) for part in (queries, keys, values, scores))
        output.append(functional.scaled_dot_product_attention(*parts, scale=1.0).unflatten(0, queries.shape[:2]))
    return torch.cat(output, dim=1)


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, bias, hidden):
        query, key, value, bias = (part.contiguous() for part in (query, key, value, bias))
        output = torch.empty_like(query)
        for rows in _chunks(query):
            output[rows] = _weights(query, key, bias, hidden, rows) @ value[rows]
        ctx.save_for_backward(query, key, value, bias, hidden, output)
        return output

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, bias, hidden, output = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_query, of_key, of_value = map(torch.empty_like, (query, key, value))
        of_bias = torch.zeros_like(bias)
        for rows in _chunks(query):
            weights = _weights(query, key, bias, hidden, rows)
            of_value[rows] = weights.transpose(-1, -2) @ gradient[rows]
            scores = gradient[rows] @ value[rows].transpose(-1, -2)
            scores -= (gradient[rows] * output[rows]).sum(-1, keepdim=True)
            scores *= weights
            of_bias[rows[0]] += scores.sum(0)
            of_query[rows] = scores @ key[rows]
            of_key[rows] = scores.transpose(-1, -2) @ query[rows]
        return of_query, of_key, of_value, of_bias, None


def _chunks(query):
    """(sample, slice of its rows), each of about CACHE scores."""
    samples, rows, heads, length, _ = query.shape
    size = max(1, CACHE // (heads * length * length))
    return [(sample, slice(first, first + size)) for sample in range(samples) for first in range(0, rows, size)]


def _weights(query, key, bias, hidden, rows):
    scores = query[rows] @ key[rows].transpose(-1, -2)
    scores += bias[rows[0]]
    if hidden is not None:
        scores += hidden[rows][:, None, None]
    return scores.softmax(-1)

"""The trunk's fused updates give what transformers' own give, padding, gradients and rows in pieces included."""

import copy

import pytest
import torch

from hardfold.folding import fused
from hardfold.folding.model import build_model, encode, fold, tiny_config


@pytest.fixture
def models():
    torch.manual_seed(0)
    model = build_model(tiny_config())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # AlphaFold2's zeros would hide the blocks
    other = copy.deepcopy(model)
    fused.fuse(other)
    return model, other


def folded(model, batch):
    output = fold(model, batch, 1)
    (output.frames.square().mean() + output.distogram_logits.square().mean()).backward()
    return output


@pytest.mark.parametrize("sequences", [["ACDEFGHIKLMN"], ["ACDEFGHIKLMN", "ACDEF"]], ids=["full", "padded"])
@pytest.mark.parametrize("cache", [2**18, 1], ids=["at once", "row by row"])
def test_outputs_and_gradients_are_those_of_transformers(models, sequences, cache, monkeypatch):
    monkeypatch.setattr(fused, "CACHE", cache)
    batch = dict(zip(("aatype", "mask", "residue_index"), encode(sequences), strict=True))
    theirs, ours = (folded(model, batch) for model in models)
    known = batch["mask"].bool()
    torch.testing.assert_close(ours.frames[:, known], theirs.frames[:, known], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.distogram_logits[known], theirs.distogram_logits[known], rtol=1e-4, atol=1e-4)
    for (name, own), other in zip(models[1].named_parameters(), models[0].parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(own.grad, other.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_gradients_of_row_attention_are_numerically_right():
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, 2, 4, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    bias = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    hidden = torch.zeros(2, 3, 4, dtype=torch.float64)
    hidden[1, :, 3] = -1e9
    assert torch.autograd.gradcheck(lambda *inputs: fused.row_attention(*inputs, hidden), (*parts, bias))


@pytest.mark.parametrize("size", [3, 8])
@pytest.mark.parametrize("padded", [False, True])
def test_the_kernels_of_a_gpu_give_the_same_in_chunks_and_whole(size, padded):
    torch.manual_seed(0)
    parts = [torch.randn(2, 8, 2, 8, 4, requires_grad=True) for _ in range(3)]
    bias, hidden = torch.randn(2, 2, 8, 8, requires_grad=True), None
    if padded:
        hidden = torch.zeros(2, 8, 8)
        hidden[1, :, 5:] = -1e9
    ours = fused.row_attention(*parts, bias, hidden)
    kernels = fused.kernel_attention(*parts, bias, hidden, size)
    torch.testing.assert_close(kernels, ours, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(output.square().sum(), [*parts, bias]) for output in (ours, kernels)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)

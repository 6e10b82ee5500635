"""Estimates of memory against what is really held, and chains that do not fit."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary
from transformers.models.esm.modeling_esm import EsmLMHead

from hardfold.folding import memory
from hardfold.folding.adapters import LAYERS, add_adapter
from hardfold.folding.fused import fuse
from hardfold.folding.memory import (
    TooLong,
    inference_bytes,
    require_inference,
    require_stem_training,
    require_training,
    stem_training_bytes,
    training_bytes,
)
from hardfold.folding.model import build_model, checkpoint_blocks, encode, fold, folding_config
from hardfold.folding.module import loss_parts
from hardfold.folding.test_time import SequenceTask, add_stem_adapter, masked_loss

CPU, GPU = torch.device("cpu"), torch.device("cuda")
WEIGHTS = {"fape": 1.0, "fape_clamped": 0.5, "fape_blocks": [], "confidence": 0.1, "contact": 0.3}


@pytest.fixture(scope="module")
def model():
    """Pairs as wide as the published small model's: in narrower ones the heads' 64 bins take more than all else."""
    torch.manual_seed(0)
    sizes = {
        "sequence_dim": 32,
        "pairwise_dim": 32,
        "ipa_dim": 8,
        "resnet_dim": 16,
        "num_blocks": 2,
        "num_heads_ipa": 4,
    }
    trunk = {"num_blocks": 2, "sequence_state_dim": 32, "pairwise_state_dim": 32, "sequence_head_width": 8}
    trunk |= {"pairwise_head_width": 8, "structure_module": sizes}
    stem = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
    model = build_model(folding_config(stem, trunk, 16)).eval()
    fuse(model)
    return model


class Held(TorchDispatchMode):
    """Counts the bytes of tensors made since it began: those that live, and the most that did at once."""

    def __init__(self):
        super().__init__()
        self.storages, self.now, self.peak = WeakIdKeyDictionary(), 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        result = function(*arguments, **(settings or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage not in self.storages:
                self.storages[storage] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def free(self, size):
        self.now -= size


def held(call):
    """The most bytes that tensors of `call` took at once."""
    with Held() as mode:
        call()
    return mode.peak


def inputs(length, batch_size=1):
    return dict(zip(("aatype", "mask", "residue_index"), encode(["A" * length] * batch_size), strict=True))


@pytest.mark.parametrize("length", [96, 160])
def test_folding_takes_what_is_estimated(model, length):
    with torch.no_grad():
        measured = held(lambda: fold(model, inputs(length), 0))
    assert 0.8 < inference_bytes(model.config, length, 0, CPU) / measured < 1.3


@pytest.mark.parametrize(("length", "blocks", "checkpointing"), [(32, 1, False), (48, 2, False), (48, 2, True)])
def test_training_takes_what_is_estimated(model, length, blocks, checkpointing):
    adapter = {"layers": list(LAYERS), "rank": 2, "alpha": 2, "dropout": 0.0, "train_confidence": False}
    base = build_model(model.config)
    fuse(base)
    trained = add_adapter(base, mode="lora", blocks=blocks, **adapter)
    if checkpointing:
        checkpoint_blocks(trained)
    batch = inputs(length, 2)
    batch |= {"coordinates": torch.randn(2, length, 5, 3), "resolved": torch.ones(2, length, dtype=torch.bool)}

    def step():
        sum(part.sum() for part in loss_parts(fold(trained, batch, 0), batch, WEIGHTS).values()).backward()

    measured = held(step)
    estimate = training_bytes(model.config, length, CPU, batch_size=2, blocks=blocks, checkpointing=checkpointing)
    assert 0.8 < estimate / measured < 1.6


@pytest.mark.parametrize(("length", "copies"), [(60, 3), (200, 1)])
def test_adapting_the_language_model_takes_what_is_estimated(model, length, copies):
    size = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4}
    stem = build_model(folding_config(size, model.config.esmfold_config.trunk.to_dict(), 16)).eval()
    head = EsmLMHead(stem.config).eval()
    adapted = add_stem_adapter(stem, 2, 4)
    tokens, target = SequenceTask(stem, "T1", "A" * length, 1, 0.2).masked_copies(copies)
    weights = sum(parameter.nbytes for parameter in [*stem.esm.parameters(), *head.parameters()])
    # A matrix that is transposed counts as one that was made.
    measured = held(lambda: masked_loss(adapted.base_model.model.esm, head, tokens, target).backward()) - weights
    assert 0.8 < stem_training_bytes(stem.config, length, copies) / measured < 1.4


def test_chunks_take_less_on_a_gpu_and_checkpoints_everywhere(model):
    sizes = [inference_bytes(model.config, 256, chunk, GPU) for chunk in (16, 128, 256, 0)]
    assert sizes[0] < sizes[1] < sizes[2] == sizes[3]
    assert {inference_bytes(model.config, 256, chunk, CPU) for chunk in (1, 16, 0)} == {sizes[0]}
    plain, spared = (
        training_bytes(model.config, 64, GPU, batch_size=4, blocks=4, checkpointing=checkpointing)
        for checkpointing in (False, True)
    )
    assert spared < plain / 2


def test_the_longest_chain_that_does_not_fit_is_named(model, monkeypatch):
    free = inference_bytes(model.config, 100, 0, CPU)
    monkeypatch.setattr(memory, "free_bytes", lambda place: free)
    require_inference(model, {"1abc_A": 100, "2abc_A": 50}, 0)
    with pytest.raises(TooLong, match=r"^2abc_A \(and 1 more chains\): folding 300 residues needs about .* are free"):
        require_inference(model, {"1abc_A": 101, "2abc_A": 300, "3abc_A": 99}, 0)


def test_training_is_refused_by_the_crop(model, monkeypatch):
    settings = {"crop": 40, "batch_size": 2, "activation_checkpointing": False}
    free = training_bytes(model.config, 40, CPU, batch_size=2, blocks=1, checkpointing=False)
    monkeypatch.setattr(memory, "free_bytes", lambda place: free)
    require_training(model, {"1abc_A": 5000}, settings, 1)
    with pytest.raises(TooLong, match=r"^1abc_A: training on batches of 2 times 41 residues needs about"):
        require_training(model, {"1abc_A": 5000}, settings | {"crop": 41}, 1)
    with pytest.raises(TooLong, match="1abc_A"):
        require_training(model, {"1abc_A": 5000}, settings, 2)


def test_a_language_model_that_cannot_be_adapted_to_a_chain_is_refused(model, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda place: stem_training_bytes(model.config, 100, 4))
    require_stem_training(model, {"T1": 100, "T2": 50}, 4)
    with pytest.raises(TooLong, match=r"^T1: adapting the language model to 4 copies of 101 residues needs about .* a"
                                      r" smaller folding.test_time.batch_size takes less"):  # fmt: skip
        require_stem_training(model, {"T1": 101, "T2": 50}, 4)


def test_what_is_free_is_no_more_than_the_machine_has():
    assert 0 < memory.free_bytes(torch.device("cpu")) <= memory.psutil.virtual_memory().total

"""Fine-tuning and folding with the ESMFold architecture at its full size (docs/benchmarks/folding_speed.md).

Weights and natives are random: they serve for time and memory alone. The tiny size runs anywhere, so that the benchmark
is known to work before a GPU is there.
"""

import time

import pytest
import torch
from measure import print_table
from torch.utils.flop_counter import FlopCounterMode

from hardfold.folding.adapters import LAYERS, add_adapter, trained_parameters
from hardfold.folding.model import (
    ALPHABET,
    build_model,
    checkpoint_blocks,
    encode,
    fold,
    folding_config,
    keep_precision,
    place,
    tiny_config,
    to_device,
)
from hardfold.folding.module import loss_parts, weighted_sum
from hardfold.training import device, peak_memory_mb

WEIGHTS = {"fape": 1.0, "fape_clamped": 0.9, "fape_blocks": [], "confidence": 0.01, "contact": 0.3}
ADAPTER = {"mode": "lora", "layers": list(LAYERS), "rank": 8, "alpha": 16, "dropout": 0.0, "train_confidence": True}
STEM = {"num_hidden_layers": 36, "hidden_size": 2560, "num_attention_heads": 40}  # ESM-2 of 3 billion parameters
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
pytestmark = pytest.mark.benchmark


def tiny():
    return tiny_config(), {"steps": 3, "crop": 16, "blocks": 1, "lengths": [8, 16]}


def full():
    config = folding_config(STEM, {"structure_module": {}})  # the rest are the library's defaults, the released sizes
    return config, {"steps": 250, "crop": 256, "blocks": 4, "lengths": [128, 256, 384, 512, 768]}


sizes = pytest.mark.parametrize("size", [tiny, pytest.param(full, marks=needs_gpu)], ids=lambda size: size.__name__)


def built(config):
    """The model on its device, the stem in fp16 there."""
    torch.manual_seed(0)
    with device():
        model = build_model(config).eval()
    place(model, device(), half_stem=True)
    return model


def random_batch(length):
    """One chain of random residues, with a random walk as its native."""
    letters = "".join(ALPHABET[code] for code in torch.randint(len(ALPHABET), (length,)))
    walk = 3.8 * torch.nn.functional.normalize(torch.randn(length, 1, 3), dim=-1).cumsum(0)
    batch = dict(zip(("aatype", "mask", "residue_index"), encode([letters]), strict=True))
    batch |= {"coordinates": (walk + torch.randn(length, 5, 3))[None]}
    return to_device(batch | {"resolved": torch.ones(1, length, dtype=torch.bool)}, device())


def finish():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak():
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


@sizes
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_steps_of_fine_tuning(size, precision, checkpointing):
    config, settings = size()
    forget_peak()
    model = built(config)
    adapted = add_adapter(model, blocks=settings["blocks"], **ADAPTER)
    if checkpointing:
        checkpoint_blocks(model)
    if precision == "bf16-mixed":
        keep_precision(model)
    optimizer = torch.optim.AdamW([parameter for parameter in adapted.parameters() if parameter.requires_grad], lr=1e-5)

    def step(batch):
        with torch.autocast(device().type, torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False):
            output = fold(adapted, batch, 0)
        loss = weighted_sum(loss_parts(output, batch, WEIGHTS), WEIGHTS).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    batches = [random_batch(settings["crop"]) for _ in range(8)]
    with FlopCounterMode(display=False) as counter:
        step(batches[0])
    begun, losses = finish(), []
    for number in range(settings["steps"]):
        losses.append(step(batches[number % len(batches)]).detach())
    seconds = finish() - begun
    assert torch.stack(losses).isfinite().all() and len(trained_parameters(adapted)) > 0
    work = counter.get_total_flops() / 1e12
    rate = work * settings["steps"] / seconds
    header = ["steps", "crop", "seconds", "s a step", "TFLOP a step", "TFLOP a second", "peak, GB"]
    peak = peak_memory_mb() / 1024
    row = [settings["steps"], settings["crop"], f"{seconds:.1f}", f"{seconds / settings['steps']:.3f}"]
    kept = "blocks recomputed" if checkpointing else "blocks kept"
    title = (
        f"{size.__name__}, {precision}, {kept}, {torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'}"
    )
    print_table(title, header, [[*row, f"{work:.3g}", f"{rate:.3g}", f"{peak:.1f}"]])


@sizes
@torch.no_grad()
def test_folding(size):
    config, settings = size()
    model, rows = built(config), []
    fold(model, random_batch(8), 0)
    for length in settings["lengths"]:
        for chunk_size in (0, 128):
            forget_peak()
            batch = random_batch(length)
            with FlopCounterMode(display=False) as counter:
                fold(model, batch, 0, chunk_size)
            begun = finish()
            output = fold(model, batch, 0, chunk_size)
            seconds = finish() - begun
            assert output.frames.isfinite().all()
            work = counter.get_total_flops() / 1e12
            peak = f"{peak_memory_mb() / 1024:.1f}"
            rows.append([length, chunk_size or "all", f"{seconds:.3f}", f"{work:.3g}", f"{work / seconds:.3g}", peak])
    header = ["residues", "chunk", "seconds", "TFLOP", "TFLOP a second", "peak, GB"]
    print_table(f"{size.__name__}, one pass, fp32 with the stem in fp16 on a GPU", header, rows)

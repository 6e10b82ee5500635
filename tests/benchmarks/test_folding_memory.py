"""The estimates of folding/memory.py against the peak of a process (docs/benchmarks/folding_memory.md)."""

import multiprocessing
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from hardfold.folding.adapters import LAYERS, add_adapter
from hardfold.folding.memory import inference_bytes, training_bytes
from hardfold.folding.model import build_model, checkpoint_blocks, encode, fold, folding_config, load_model
from hardfold.folding.module import loss_parts

pytestmark = pytest.mark.benchmark
PUBLISHED = Path(__file__).parents[2] / "resources/models/esmfold_2M_hardfold"
WEIGHTS = {"fape": 1.0, "fape_clamped": 0.9, "fape_blocks": [], "confidence": 0.01, "contact": 0.3}
ADAPTER = {"mode": "lora", "layers": list(LAYERS), "rank": 8, "alpha": 16, "dropout": 0.0, "train_confidence": True}
# Model, residues, chunk size, crops a batch, blocks trained (0: folding only), activation checkpointing.
CASES = [
    *[("published", length, chunk, 1, 0, False) for length in (64, 128, 256) for chunk in (0, 16)],
    *[("full width", length, chunk, 1, 0, False) for length in (64, 128) for chunk in (0, 16)],
    *[("published", length, 0, 1, blocks, False) for length in (64, 128) for blocks in (1, 4)],
    ("published", 64, 0, 4, 4, False),
    ("published", 128, 0, 1, 4, True),
    ("full width", 64, 0, 1, 1, False),
    ("full width", 64, 0, 1, 2, False),
]


def build(kind):
    """The published small model, or two blocks of the full size's trunk on a small stem."""
    if kind == "published":
        return load_model(PUBLISHED)[0]
    stem = {"num_hidden_layers": 1, "hidden_size": 320, "num_attention_heads": 20}
    return build_model(folding_config(stem, {"num_blocks": 2, "structure_module": {}})).eval()


def measure(case, results):
    kind, length, chunk_size, batch_size, blocks, checkpointing = case
    torch.set_num_threads(1)
    model = build(kind)
    settings = {"batch_size": batch_size, "blocks": blocks, "checkpointing": checkpointing}
    config = model.config
    if blocks:
        model = add_adapter(model, blocks=blocks, **ADAPTER)
        estimate = training_bytes(config, length, **settings)
    else:
        estimate = inference_bytes(config, length, chunk_size)
    if checkpointing:
        checkpoint_blocks(model)

    def run(residues):
        batch = dict(zip(("aatype", "mask", "residue_index"), encode(["A" * residues] * batch_size), strict=True))
        with torch.set_grad_enabled(blocks > 0):
            output = fold(model, batch, 0, chunk_size)
        if blocks:
            shape = batch["mask"].shape
            batch |= {"coordinates": torch.randn(*shape, 5, 3), "resolved": torch.ones(shape, dtype=torch.bool)}
            sum(part.sum() for part in loss_parts(output, batch, WEIGHTS).values()).backward()

    run(4)  # what the first use of the libraries takes
    process, peak, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run(length)
    done.set()
    watcher.join()
    results.put((peak[0] - before, estimate))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_estimate_is_near_the_peak(case):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(case, results))
    process.start()
    measured, estimate = results.get()
    process.join()
    print(f"{case}: measured {measured / 2**20:.0f} MiB, estimated {estimate / 2**20:.0f} MiB")
    if measured > 400 * 2**20:
        assert 0.75 < estimate / measured < 1.35

"""The estimates of folding/memory.py against the peak of a process (docs/benchmarks/folding_memory.md)."""

import json
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from measure import run_child
from transformers.models.esm.modeling_esm import EsmLMHead

from hardfold.folding.adapters import LAYERS, add_adapter
from hardfold.folding.fused import fuse
from hardfold.folding.memory import inference_bytes, stem_training_bytes, training_bytes
from hardfold.folding.model import build_model, checkpoint_blocks, encode, fold, folding_config, load_model
from hardfold.folding.module import loss_parts
from hardfold.folding.test_time import SequenceTask, add_stem_adapter, masked_loss

pytestmark = pytest.mark.benchmark
PUBLISHED = Path(__file__).parents[2] / "resources/models/esmfold_2M_hardfold"
WEIGHTS = {"fape": 1.0, "fape_clamped": 0.9, "fape_blocks": [], "confidence": 0.01, "contact": 0.3}
ADAPTER = {"mode": "lora", "layers": list(LAYERS), "rank": 8, "alpha": 16, "dropout": 0.0, "train_confidence": True}
# Model, residues, crops or copies a batch, what is done, blocks trained.
CASES = [
    *[("published", length, 1, "fold", 0) for length in (64, 128, 256, 384)],
    *[("full width", length, 1, "fold", 0) for length in (64, 128, 256)],
    *[("published", length, 1, "train", blocks) for length in (64, 128) for blocks in (1, 4)],
    ("published", 64, 4, "train", 4),
    ("published", 128, 1, "train, recomputed", 4),
    ("full width", 64, 1, "train", 1),
    ("full width", 64, 1, "train", 2),
    *[("published", length, copies, "adapt", 0) for length, copies in ((128, 4), (256, 4), (512, 1))],
    ("wide stem", 256, 1, "adapt", 0),
]


def build(kind):
    """The published small model, or two blocks of the full size's trunk on a small stem or on a wide one."""
    if kind == "published":
        return load_model(PUBLISHED)[0]
    layers, width, heads = (1, 320, 20) if kind == "full width" else (6, 640, 20)  # ESM-2 of 8 or 150 million
    stem = {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": heads}
    model = build_model(folding_config(stem, {"num_blocks": 2, "structure_module": {}})).eval()
    fuse(model)
    return model


def measure(kind, length, batch_size, what, blocks):
    """(how far the memory of this process rose, what was estimated), bytes."""
    torch.set_num_threads(1)
    model, place = build(kind), torch.device("cpu")
    config, checkpointing = model.config, what == "train, recomputed"
    settings = {"batch_size": batch_size, "blocks": blocks, "checkpointing": checkpointing}
    if what == "fold":
        estimate = inference_bytes(config, length, 0, place)
    elif what == "adapt":
        estimate = stem_training_bytes(config, length, batch_size)
        head, model = EsmLMHead(config).eval(), add_stem_adapter(model, 8, 16)
    else:
        model = add_adapter(model, blocks=blocks, **ADAPTER)
        estimate = training_bytes(config, length, place, **settings)
    if checkpointing:
        checkpoint_blocks(model)

    def run(residues):
        if what == "adapt":
            base = model.base_model.model
            copies = SequenceTask(base, "T1", "A" * residues, 1, 0.15).masked_copies(batch_size)
            masked_loss(base.esm, head, *copies).backward()
            return
        batch = dict(zip(("aatype", "mask", "residue_index"), encode(["A" * residues] * batch_size), strict=True))
        with torch.set_grad_enabled(blocks > 0):
            output = fold(model, batch, 0)
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
    return peak[0] - before, estimate


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_estimate_is_near_the_peak(case, monkeypatch):
    # By itself glibc scatters what is below 32 MB over a heap that does not shrink.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**19))
    measured, estimate = json.loads(run_child(sys.executable, __file__, json.dumps(case))["output"])
    print(f"{case}: measured {measured / 2**20:.0f} MiB, estimated {estimate / 2**20:.0f} MiB")
    if measured > 400 * 2**20:
        assert 0.75 < estimate / measured < 1.35


if __name__ == "__main__":  # a fresh process
    print(json.dumps(measure(*json.loads(sys.argv[1]))))

"""Whole training steps of the contact track: against a straightforward implementation, against the heads alone, the
wait for data, and sizes for a GPU.

On a CPU one thread, processor time where not said otherwise.
"""

import functools
import json
import sys
import time
from pathlib import Path

import contact_steps
import numpy as np
import pandas as pd
import pytest
import torch
from contact_steps import EXP3, OPTIONS, SIDES, embed_dataset, load_backbones, random_chains, train, write_dataset
from measure import ROOT, print_table, run_child, run_python

from hardfold.contact.losses import all_losses, mean, weighted
from hardfold.contact.model import ContactModel
from hardfold.contact.samples import Samples
from hardfold.structure.parse import read_chain
from hardfold.training import device, seed_everything

pytestmark = pytest.mark.benchmark
STEPS = Path(contact_steps.__file__)  # the program
BATCH, ROWS = OPTIONS["batch_size"], 16
LIMIT_GB = 16  # of a process
WIDE = {**EXP3, "fusion_dim": 256}
ESM2_8M = (6, 320, 20)
FROZEN = {"num_layers_to_freeze_esm2": 6}  # all of them; those of the alignment model are frozen anyhow


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    seed_everything(1)


def embedded_chains():
    """Real ones, of 128 residues at most."""
    for id in pd.read_csv(ROOT / "resources/demo/chains.tsv", sep="\t")["chain"]:
        entry, chain = id.split("_")
        yield read_chain(ROOT / f"resources/demo/structures/{entry}.cif.gz", chain, id=id)


def prepare(folder, chains, options, esm2=None, rows=ROWS):
    """The data set and, for a model of these options, what frozen layers give; that model."""
    folder.mkdir()
    write_dataset(folder, chains, rows)
    seed_everything(1)  # the weights that a child draws
    model = ContactModel(*load_backbones(esm2), {**OPTIONS, **options})
    embed_dataset(folder, model)
    return model


def run(side, folder, options, esm2=None, steps=None):
    """`contact_steps.main` in a process of its own, with its peak_mb above that of the imports."""
    arguments = {"side": side, "folder": str(folder), "options": options, "esm2": esm2, "steps": steps}
    child = run_child(sys.executable, STEPS, json.dumps({**arguments, "limit_gb": LIMIT_GB}))
    return {**json.loads(child["output"]), "peak_mb": child["peak_mb"] - imports_mb()}


@functools.cache
def imports_mb():
    return run_python("import sys; sys.path.append(sys.argv[1]); import contact_steps", STEPS.parent)["peak_mb"]


@pytest.mark.parametrize(
    ("what", "chains", "options", "esm2", "steps", "repeats"),
    [
        ("exp5, width 64", lambda: random_chains([50] * 80), {"max_length": 50}, None, 3, 2),
        ("exp5, width 64, ESM-2 t6 8M", lambda: random_chains([50] * 80), {"max_length": 50}, ESM2_8M, 3, 2),
        ("exp3, width 256", lambda: random_chains([50] * 80), {"max_length": 50, **WIDE}, None, 2, 1),
        ("exp3, width 64, embedded chains", embedded_chains, {"max_length": 128, **EXP3}, None, 3, 1),
    ],
    ids=["exp5", "8M", "wide", "embedded"],
)
def test_against_a_straightforward_implementation(what, chains, options, esm2, steps, repeats, tmp_path):
    prepare(tmp_path / "data", chains(), options, esm2)
    runs = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side, costs in runs.items():
            costs.append(run(side, tmp_path / "data", options, esm2, None if side == "hardfold" else steps))
    losses = [costs[0]["losses"][:steps] for costs in runs.values()]
    np.testing.assert_allclose(losses, losses[:1] * len(SIDES), rtol=1e-4)
    rates = {side: max(cost["residues"] / cost["cpu"] for cost in costs) for side, costs in runs.items()}
    rows = [
        [what, side, f"{rate:.0f}", f"{rates['hardfold'] / rate:.1f}",
         f"{min(cost['peak_mb'] for cost in runs[side]):.0f}"] for side, rate in rates.items()
    ]  # fmt: skip
    print_table(
        "training steps",
        ["experiment", "", "residues / CPU s", "hardfold's times as many", "peak MB above imports"],
        rows,
    )


def test_lengths_that_the_straightforward_implementation_cannot_run(tmp_path):
    rows = []
    for length in (128, 256, 512):
        for what, changes in (("exp5, width 64", {}), ("exp3, width 256", WIDE)):
            options = {"max_length": length, **changes}
            folder = tmp_path / f"{length}-{len(rows)}"
            prepare(folder, random_chains([length] * 3 * BATCH), options)
            ours = run("hardfold", folder, options)
            dim = options.get("fusion_dim", OPTIONS["fusion_dim"])
            asked = f"{4 * BATCH * (length * dim) ** 2 / 1e9:.1f}"
            if changes:
                theirs = run("straightforward", folder, options, steps=2)
                assert f"{theirs['asked'] / 1e9:.1f}" == asked
                asked += ", refused"
            cells = f"{ours['residues'] / ours['cpu']:.0f}", f"{ours['cpu']:.2f}", f"{ours['peak_mb']:.0f}"
            rows.append([what, length, *cells, asked])
    print_table(
        f"whole steps, {BATCH} chains; B L² D² float32 of nn.Bilinear's backward pass",
        ["experiment", "L", "residues / CPU s", "CPU s a step", "peak MB above imports", "the other asks for, GB"],
        rows,
    )


def heads_alone(model, batches, optimizer=None):
    """CPU seconds a step on batches in memory: fusion, heads, losses, backward pass, and an optimiser's step if any."""
    start = time.process_time()
    for batch in batches:
        parts = all_losses(model(batch), batch, model.options)
        weighted({task: mean(*part) for task, part in parts.items()}, model.options).backward()
        if optimizer:
            torch.nn.utils.clip_grad_norm_(model.parameters(), model.options["gradient_clip"])
            optimizer.step()
        model.zero_grad()
    return (time.process_time() - start) / len(batches)


def test_frozen_encoders_cost_little_beside_the_heads(tmp_path):
    rows = []
    for length in (50, 128, 256, 512):
        folder, options = tmp_path / str(length), {"max_length": length, **FROZEN}
        model = prepare(folder, random_chains([length] * (10 if length < 256 else 4) * BATCH), options)
        batches = list(Samples(folder / "train.h5", model, folder).training(seed=1, epoch=0))
        optimizer = torch.optim.AdamW(model.parameters())
        times = []
        for _ in range(3):
            alone = heads_alone(model, batches), heads_alone(model, batches, optimizer)
            times.append([*alone, train(model, folder)["cpu"]])
        best = np.min(times, axis=0)
        rows.append(
            [length, *(f"{1000 * seconds:.0f}" for seconds in best), *(f"{best[2] / part:.2f}" for part in best[:2])]
        )
    print_table(
        "CPU ms a step, all encoder layers frozen, exp5, width 64",
        ["L", "heads, backward pass", "and optimiser", "whole step from HDF5", "times the first", "times the second"],
        rows,
    )


def test_wait_for_data(tmp_path):
    rows = []
    for length in (128, 256, 512):
        folder = tmp_path / str(length)
        model = prepare(folder, random_chains([length] * (10 if length < 256 else 5) * BATCH), {"max_length": length})
        costs = {0: [], 1: []}
        for _ in range(2):
            for workers, found in costs.items():
                model.options["num_workers"] = workers
                found.append(train(model, folder))
        best = [min(found, key=lambda cost: cost["wall"]) for found in costs.values()]
        rows.append([length, *(f"{cost['wall']:.2f}" for cost in best), *(f"{cost['waiting']:.1%}" for cost in best)])
    print_table(
        "exp5, width 64: seconds of wall clock a step, and share of them spent waiting for data",
        ["L", "0 workers: s", "1 worker: s", "0 workers: waiting", "1 worker: waiting"],
        rows,
    )


TINY = {
    "lengths": (12,),
    "esm2": {"tiny": (2, 8, 2)},
    "esm_msa": (2, 8, 2),
    "rows": (2, 4),
    "steps": 2,
    "fusion_dim": 8,
}
REAL = {
    "lengths": (128, 256, 512), "esm2": {"8M": ESM2_8M, "35M": (12, 480, 20)}, "esm_msa": (12, 768, 12),
    "rows": (16, 64), "steps": 5, "fusion_dim": 256,
}  # fmt: skip
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.parametrize("sizes", [pytest.param(TINY, id="tiny"), pytest.param(REAL, id="real", marks=needs_gpu)])
def test_real_sizes(sizes, tmp_path):
    """Random weights. What of the alignment model is trained: nothing, its last layer, all (then ESM-2's, too)."""
    embedded, rows = [], []
    for length in sizes["lengths"]:
        chains = random_chains([length] * BATCH * sizes["steps"])
        (tmp_path / str(length)).mkdir()
        write_dataset(tmp_path / str(length), chains, max(sizes["rows"]))
        for name, dims in sizes["esm2"].items():
            for count in sizes["rows"]:
                for trained, frozen in {"none": (1, 0), "last": (1, 1), "all": (dims[0], sizes["esm_msa"][0])}.items():
                    options = {
                        **OPTIONS, "max_length": length, "num_msa_rows": count, "fusion_dim": sizes["fusion_dim"],
                        "num_layers_to_freeze_esm2": dims[0] - frozen[0],
                        "num_layers_to_freeze_msa": sizes["esm_msa"][0] - frozen[1],
                    }  # fmt: skip
                    what = [length, name, count, trained]
                    model = ContactModel(*load_backbones(dims, sizes["esm_msa"]), options).to(device())
                    start = time.perf_counter()
                    embed_dataset(tmp_path / str(length), model)
                    seconds = time.perf_counter() - start
                    if trained == "none":
                        embedded.append([*what[:-1], f"{length * (BATCH * sizes['steps'] + 1) / seconds:.0f}"])
                    for precision in ("32-true", "bf16-mixed"):
                        model.options["precision"] = precision
                        rows.append([*what, precision, *step_on_device(model, tmp_path / str(length))])
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print_table(f"frozen layers run once, {where}", ["L", "ESM-2", "rows", "residues / s"], embedded)
    print_table(
        f"whole steps, {where}",
        ["L", "ESM-2", "rows", "trained of ESM-MSA-1b", "precision", "residues / s", "peak GB", "waiting for data"],
        rows,
    )


def step_on_device(model, folder):
    """residues a second of wall clock, peak GB of the GPU, share of the time spent waiting for data."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        cost = train(model, folder)
    except torch.OutOfMemoryError:
        return "out of memory", "", ""
    peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if torch.cuda.is_available() else ""
    return f"{cost['residues'] / cost['wall']:.0f}", peak, f"{cost['waiting']:.1%}"

"""Training from scratch: the language model against fair-esm's own, the folding trunk against transformers' own, the
wait for data. One thread, processor time on a CPU; on a GPU the wall clock.
"""

import time
from functools import partial

import numpy as np
import pytest
import torch
from measure import ROOT, print_table
from torch.nn import functional

from hardfold import backbones
from hardfold.folding.model import build_model, encode, fold, load_model
from hardfold.pretraining.language import fused_model
from hardfold.pretraining.masking import MaskedBatches, cut_sequence, mask_tokens, plan_batches
from hardfold.training import device, seed_everything

pytestmark = pytest.mark.benchmark
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
REPEATS = 5
PEAK_H100 = 989e12  # bf16, without sparsity, operations a second


@pytest.fixture(autouse=True)
def one_thread():
    seed_everything(1)


def random_sequence(length):
    return "".join(LETTERS[code] for code in torch.randint(len(LETTERS), (length,)).tolist())


def seconds(sides, repeats=REPEATS):
    """The best of so many turns of each side, after one that does not count."""
    best = dict.fromkeys(sides, float("inf"))
    for turn in range(repeats + 1):
        for name, step in sides.items():
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            clock = time.perf_counter if torch.cuda.is_available() else time.process_time
            start = clock()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                best[name] = min(best[name], clock() - start)
    return best


@pytest.mark.parametrize("size", [(6, 160, 5), (6, 320, 20)], ids=["t6-160", "t6-320"])
def test_language_model_against_fair_esm(size):
    """Forward and backward pass of the same weights on the same masked tokens; 512 residues."""
    rows = []
    for length, batch in ((128, 8), (512, 2)) if not torch.cuda.is_available() else ((128, 256), (512, 128)):
        model, alphabet = backbones.build_esm2(*size)
        models = {reduced: fused_model(model, alphabet, length, reduced) for reduced in (False, True)}
        for part in (model, models[False][0], models[True][0]):
            part.to(device())
        converted = alphabet.get_batch_converter()([("a", random_sequence(length)) for _ in range(batch)])[2]
        tokens, target = mask_tokens(converted, alphabet, torch.Generator().manual_seed(1))
        tokens, target = tokens.to(device()), target.to(device())
        found = {}

        def step(name, compute, reduced=False, tokens=tokens, target=target, found=found):
            with torch.autocast(device().type, torch.bfloat16, enabled=reduced):
                output = compute(tokens)
            found[name] = functional.cross_entropy(output.float().flatten(0, 1), target.flatten())
            found[name].backward()

        sides = {}
        for reduced, (_, logits) in models.items():
            for kind, compute in {
                "fair-esm": lambda tokens, model=model: model(tokens)["logits"],
                "fused": logits,
            }.items():
                name = f"{kind}, bf16" if reduced else kind
                sides[name] = partial(step, name, compute, reduced)
        best = seconds(sides)
        assert abs(found["fused"].item() - found["fair-esm"].item()) < 1e-4
        speed = {name: converted.numel() / value for name, value in best.items()}
        # 6 operations a weight and token, forward and backward, and those of attention (Kaplan et al. 2020).
        work = 6 * sum(p.numel() for p in model.parameters()) + 12 * size[0] * size[1] * length
        peak = f"{speed['fused, bf16'] * work / PEAK_H100:.1%}" if torch.cuda.is_available() else ""
        ratios = [speed["fused"] / speed["fair-esm"], speed["fused, bf16"] / speed["fair-esm"]]
        rows.append([length, batch, *(f"{speed[name]:.0f}" for name in sides), *(f"{r:.2f}" for r in ratios), peak])
    header = ["L", "sequences", *(f"{name}: tokens / s" for name in sides), "fused, times", "bf16, times", "of peak"]
    print_table(f"ESM-2 {size}, forward and backward, {device().type}", header, rows)


def embedded_and_plain():
    """The embedded folding model as it is loaded, fused, and with transformers' own trunk."""
    fused, _ = load_model(ROOT / "resources/models/esmfold_2M_hardfold")
    plain = build_model(fused.config).eval()
    plain.load_state_dict(fused.state_dict())
    return fused, plain


@pytest.mark.parametrize("what", ["fold", "train"])
def test_folding_trunk_against_transformers(what):
    """The six blocks of the embedded folding model; equal outputs, and gradients, to 1e-4."""
    rows = []
    for length in (128, 256):
        model, plain = (model.to(device()) for model in embedded_and_plain())
        trunks = {"transformers": plain, "fused": model}
        config = model.config.esmfold_config.trunk
        s = torch.randn(1, length, config.sequence_state_dim, device=device())
        z = torch.randn(1, length, length, config.pairwise_state_dim, device=device())
        mask, found = torch.ones(1, length, device=device()), {}

        def step(name, trunks=trunks, s=s, z=z, mask=mask, found=found):
            states = s, z
            with torch.set_grad_enabled(what == "train"):
                for block in trunks[name].trunk.blocks:
                    states = block(*states, mask=mask)
                if what == "train":
                    trunks[name].zero_grad()
                    (states[0].square().mean() + states[1].square().mean()).backward()
            found[name] = [state.detach() for state in states]

        best = seconds({name: lambda name=name: step(name) for name in trunks}, REPEATS if length < 200 else 2)
        for ours, theirs in zip(found["fused"], found["transformers"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        if what == "train":
            for ours, theirs in zip(*(trunk.trunk.blocks.parameters() for trunk in trunks.values()), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)
        theirs, ours = best["transformers"], best["fused"]
        rows.append([length, f"{theirs:.2f}", f"{ours:.2f}", f"{theirs / ours:.2f}"])
    print_table(f"{what}: seconds of six blocks, {device().type}", ["L", "transformers", "fused", "times"], rows)


def test_whole_model_folds_alike():
    sequences = [random_sequence(60), random_sequence(40)]
    batch = dict(zip(("aatype", "mask", "residue_index"), encode(sequences), strict=True))
    with torch.no_grad():
        after, before = (fold(model, batch, 1) for model in embedded_and_plain())
    shift = (before.positions - after.positions).abs()[:, batch["mask"].bool()].max()
    print(f"largest shift of an atom: {shift:.1e} angstrom")
    assert shift < 1e-4


def test_data_are_no_limit():
    """Crops, padding and masking of a batch against the step that it feeds, one process."""
    model, alphabet = backbones.build_esm2(6, 160, 5)
    fused, logits = fused_model(model, alphabet, 126, True)
    fused.to(device())
    lengths = np.random.default_rng(1).integers(50, 600, 5000)
    records = [random_sequence(length) for length in lengths]
    plan = plan_batches(lengths, np.arange(5000), 20, crop=126, residues=4096, seed=1)
    batches = MaskedBatches(records, plan, cut_sequence(126, alphabet), alphabet, 1)

    def train():
        tokens, target = (part.to(device()) for part in batches[4])
        with torch.autocast(device().type, torch.bfloat16):
            output = logits(tokens)
        functional.cross_entropy(output.float().flatten(0, 1), target.flatten()).backward()

    best = seconds({"batch": lambda: batches[4], "step": train}, 3)
    real = np.mean([(batches[number][0] != alphabet.padding_idx).float().mean().item() for number in range(20)])
    shares = f"{best['batch'] / best['step']:.1%}", f"{real:.1%}"
    rows = [[f"{1000 * best['batch']:.1f}", f"{1000 * best['step']:.0f}", *shares]]
    header = ["ms a batch", "ms a step with it", "share", "tokens that are no padding"]
    print_table("4,096 tokens, crops of 126", header, rows)

"""Arm test_time: the language model adapted to each target's own sequence, no structure seen.

Masked-token training of LoRA on the stem, through ESM-2's own language-model head (the folding model has none), as
ProteinTTT does (Bushuiev et al. 2024). Step 0, the untouched model, is a candidate; the step is chosen without the
native: by the model's own pLDDT, as there, or by the perplexity of residues that the training never asks for.

Shapes: B masked copies, L residues, T = L + 2 tokens, V vocabulary.
"""

import hashlib
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import EsmForProteinFolding
from transformers.models.esm.modeling_esm import EsmLMHead

from hardfold import backbones, tables
from hardfold.dataset import Dataset
from hardfold.folding.adapters import adapted_modules, add_lora
from hardfold.folding.memory import require_inference, require_stem_training
from hardfold.folding.model import UNKNOWN, ModelError, encode, load_model
from hardfold.folding.predict import fold_sequence, step0_difference
from hardfold.jobs import library_hashes, progress
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif
from hardfold.tables import whole_file
from hardfold.trainer import LAST, resume_point
from hardfold.training import (
    count_parameters,
    device,
    load_trained_state,
    peak_memory_mb,
    read_checkpoint,
    require_finite,
    seed_everything,
    trained_state,
)
from hardfold.weights import verify

LINEARS = r"esm\.encoder\.layer\.\d+\.(attention\.self\.(query|key|value)|((attention\.)?output|intermediate)\.dense)"
RANDOM, KEPT = 0.1, 0.1  # of the masked residues, as in ESM-2's own training (Devlin et al. 2019)
STEP0_TARGETS = 3  # the shortest, on which step 0 is compared with the untouched model
COLUMNS = ["target", "step", "file", "residues", "loss", "perplexity", "plddt", "chosen"]


def load_head(model: EsmForProteinFolding, checkpoint: Path) -> EsmLMHead:
    """The language-model head of the ESM-2 `checkpoint` (.pt); ModelError unless its layers are the model's stem.

    They are compared as float16: released folding models hold their stem so.
    """
    network, _ = backbones.load(checkpoint)
    state = backbones.to_transformers(network.state_dict())
    theirs = {name: value for name, value in state.items() if name.startswith("esm.")}
    own = {
        name: value
        for name, value in model.state_dict().items()
        if name.startswith("esm.") and "contact_head" not in name and "inv_freq" not in name
    }
    other = sorted(theirs.keys() ^ own.keys()) or [
        name for name, value in own.items() if not torch.equal(value.half().cpu(), theirs[name].half())
    ]
    if other:
        raise ModelError(
            f"folding.test_time.language_model: {Path(checkpoint).stem} is not the stem of the folding model: "
            f"{len(other)} weights differ, {other[0]} among them"
        )
    head = EsmLMHead(model.config)
    head.load_state_dict({name.removeprefix("lm_head."): state[name] for name in state if name.startswith("lm_head.")})
    return head.requires_grad_(False).eval()


def add_stem_adapter(model: EsmForProteinFolding, rank: int, alpha: float) -> PeftModel:
    """The model with LoRA on every linear layer of its stem's blocks, and nothing else trainable; B starts at zero."""
    layers = [name for name, module in model.esm.encoder.layer.named_modules() if isinstance(module, nn.Linear)]
    layers = [f"esm.encoder.layer.{name}" for name in layers]
    return add_lora(model, LINEARS, layers, rank=rank, alpha=alpha).eval()  # no dropout: ESM-2 has none


class SequenceTask:
    """One sequence as the stem reads it, and its masked copies.

    `held_out` (L,) bool: residues that no training step asks for, `mask_fraction` of those of known type; the others
    are `trained`. The same sequence and seed always give the same.
    """

    def __init__(self, model: EsmForProteinFolding, target: str, sequence: str, seed: int, mask_fraction: float):
        digest = hashlib.sha256(f"{seed}:{target}".encode()).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        aatype, mask, _ = encode([sequence])
        self.mask_fraction, self.mask_token = mask_fraction, model.esm_dict_mask_idx
        place = next(model.parameters()).device
        residues = model.af2_idx_to_esm_idx(aatype.to(place), mask.to(place)).cpu()
        self.letters = model.af2_to_esm[1 : UNKNOWN + 1].cpu()
        ends = torch.tensor([[model.esm_dict_cls_idx]]), torch.tensor([[model.esm_dict_eos_idx]])
        self.tokens = torch.cat([ends[0], residues, ends[1]], dim=1)[0]  # (T,)
        known = torch.nonzero(aatype[0] != UNKNOWN)[:, 0]
        count = self._share(len(known))
        drawn = known[torch.randperm(len(known), generator=self.generator)]
        self.held_out, self.trained = drawn[:count].sort().values + 1, drawn[count:].sort().values + 1  # in tokens

    def _share(self, count: int) -> int:
        return max(1, round(self.mask_fraction * count))

    def masked_copies(self, copies: int) -> tuple[Tensor, Tensor]:
        """(B, T) tokens and the targets of the loss, -100 where there is none: of the trained residues a share is asked
        for, 80 % of it hidden, 10 % replaced by any residue and 10 % left as it is.
        """
        tokens, target = self.tokens.repeat(copies, 1), torch.full((copies, len(self.tokens)), -100)
        for row in range(copies):
            order = torch.randperm(len(self.trained), generator=self.generator)
            asked = self.trained[order[: self._share(len(order))]]
            target[row, asked] = tokens[row, asked]
            draw = torch.rand(len(asked), generator=self.generator)
            tokens[row, asked[draw >= RANDOM + KEPT]] = self.mask_token
            other = asked[draw < RANDOM]
            tokens[row, other] = self.letters[torch.randint(len(self.letters), (len(other),), generator=self.generator)]
        return tokens, target

    def held_out_copy(self) -> tuple[Tensor, Tensor]:
        """(1, T) each: the held-out residues hidden and asked for."""
        tokens, target = self.tokens[None].clone(), torch.full((1, len(self.tokens)), -100)
        target[0, self.held_out] = tokens[0, self.held_out]
        tokens[0, self.held_out] = self.mask_token
        return tokens, target


def masked_loss(stem: nn.Module, head: nn.Module, tokens: Tensor, target: Tensor) -> Tensor:
    """Cross entropy over the residues asked for, in nats."""
    place = next(stem.parameters()).device
    tokens, target = tokens.to(place), target.to(place)
    hidden = stem(tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    return functional.cross_entropy(head(hidden.float()).flatten(0, 1), target.flatten())


def adapt(model: PeftModel, head: nn.Module, task: SequenceTask, name: str, settings: Mapping) -> Iterator[dict]:
    """Train the adapter on one sequence, and stop at step 0, at every `every` steps and at the last: yields step, loss
    (mean since the step before; None at 0) and perplexity (of the held-out residues).
    """
    stem = model.base_model.model.esm
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings["learning_rate"], weight_decay=0.0)
    losses = []
    for step in range(settings["steps"] + 1):
        if step:
            optimizer.zero_grad()
            loss = masked_loss(stem, head, *task.masked_copies(settings["batch_size"]))
            require_finite(loss.detach()[None], [name], step)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        if step % settings["every"] == 0 or step == settings["steps"]:
            with torch.no_grad():
                held_out = float(masked_loss(stem, head, *task.held_out_copy()))
            yield {"step": step, "loss": float(np.mean(losses)) if losses else None, "perplexity": math.exp(held_out)}
            losses = []


def choose_step(candidates: list[dict], by: str) -> dict:
    """The candidate of highest `plddt` or lowest `perplexity`; of equal ones the earliest."""
    sign = {"plddt": -1, "perplexity": 1}[by]
    return min(candidates, key=lambda row: (sign * row[by], row["step"]))


def predict_test_time(
    *,
    seed: int,
    weights: Path,
    language_model: Path,
    targets: Path,
    output: Path,
    state: Path,
    settings: Mapping,
    recycles: int,
    chunk_size: int,
    threads: int,
) -> None:
    """Write to the folder `output`: steps.tsv (COLUMNS, a row a target and candidate), steps/<step>/<target>.cif, and
    of the steps chosen <target>.cif and predictions.tsv; adaptation.json records the run.

    settings: the configuration's folding.test_time; state: a folder for the targets that are done, after which a run
    that was cut short goes on. Of `targets` only sequences are read. The adapter starts anew for every target. The
    stem, which is trained, computes in fp32. Raises TooLong, naming a target that does not fit into memory.
    """
    start, output, state = time.monotonic(), Path(output), Path(state)
    seed_everything(seed, threads)
    source, stem_source = verify(weights), verify(language_model)
    dataset = Dataset(targets)
    sequences = {target: dataset.read(target, rows=0).sequence for target in dataset.ids}
    options = {**settings, "recycles": recycles, "chunk_size": chunk_size}
    identity = {"seed": seed, "options": options, "data": {"sequences": sequences}}
    identity |= {"weights": source["files"], "language_model": stem_source["files"]}
    last = resume_point(state, identity | {"code": library_hashes("folding.test_time")})
    done = read_checkpoint(last) if last else {"candidates": {}, "shift": 0.0, "seconds": 0.0}
    earlier = done["seconds"]
    model, _ = load_model(weights)
    head = load_head(model, Path(language_model, f"{stem_source['name']}.pt")).to(device())
    model.to(device())
    lengths = {target: len(sequence) for target, sequence in sequences.items()}
    require_inference(model, lengths, chunk_size)
    require_stem_training(model, lengths, settings["batch_size"])
    left = [target for target in dataset.ids if target not in done["candidates"]]
    shortest = sorted(sequences, key=lambda target: (lengths[target], target))[:STEP0_TARGETS]
    untouched = {
        target: fold_sequence(model, sequences[target], recycles, chunk_size)[0]
        for target in shortest
        if target in left
    }
    adapted = add_stem_adapter(model, settings["rank"], settings["alpha"])
    initial = trained_state(adapted)
    for target in progress(left, len(left), "targets adapted to"):
        begun = time.monotonic()
        load_trained_state(adapted, initial)
        task = SequenceTask(model, target, sequences[target], seed, settings["mask_fraction"])
        candidates = []
        for figures in adapt(adapted, head, task, target, settings):
            coordinates, plddt = fold_sequence(adapted, sequences[target], recycles, chunk_size)
            if figures["step"] == 0 and target in untouched:
                done["shift"] = max(done["shift"], step0_difference([untouched[target]], [coordinates]))
            candidates.append(figures | {"coordinates": torch.tensor(coordinates), "plddt": torch.tensor(plddt)})
        done["candidates"][target] = candidates
        done["seconds"] += time.monotonic() - begun
        with whole_file(Path(state, LAST)) as temporary:
            torch.save(done, temporary)
    rows = []
    for target in dataset.ids:
        rows += write_candidates(target, sequences[target], done["candidates"][target], settings["choose_by"], output)
    parameters = count_parameters(adapted)
    record = {
        "arm": "test_time",
        "seed": seed,
        **settings,
        "trainable_parameters": parameters["trainable"],
        "total_parameters": parameters["total"],
        "adapted_modules": adapted_modules(adapted),
        "targets": len(dataset.ids),
        "step0_max_difference": done["shift"],
        "weights": source,
        "language_model_weights": stem_source,
        "seconds": time.monotonic() - start + earlier,
        "peak_memory_mb": peak_memory_mb(),
    }
    tables.write_json(output / "adaptation.json", record)
    tables.write(output / "steps.tsv", rows, COLUMNS)
    final = [row | {"file": f"{row['target']}.cif"} for row in rows if row["chosen"] == "yes"]
    tables.write(output / "predictions.tsv", final, ["target", "file", "residues", "plddt", "step"])
    # The run is complete: one that is forced starts anew.
    Path(state, LAST).unlink()


def write_candidates(target: str, sequence: str, candidates: list[dict], choose_by: str, output: Path) -> list[dict]:
    """Write steps/<step>/<target>.cif of each candidate and <target>.cif of the one chosen; returns the rows of
    steps.tsv. A candidate has what `adapt` yields, coordinates (L, 5, 3) and plddt (L,)."""
    rows = []
    for candidate in candidates:
        file, plddt = f"steps/{candidate['step']}/{target}.cif", candidate["plddt"].numpy()
        write_mmcif(Chain.from_atoms(target, sequence, candidate["coordinates"].numpy()), output / file, plddt)
        facts = {"target": target, "file": file, "residues": len(sequence), "plddt": float(plddt.mean())}
        rows.append({name: candidate[name] for name in ("step", "loss", "perplexity")} | facts)
    chosen = choose_step(rows, choose_by)
    shutil.copyfile(output / chosen["file"], output / f"{target}.cif")
    return [row | {"chosen": "yes" if row is chosen else "no"} for row in rows]

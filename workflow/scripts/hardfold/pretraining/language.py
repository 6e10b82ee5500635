"""Masked language models from scratch: ESM-2 on sequences and ESM-MSA-1b's architecture on alignments.

Shapes: B batch, R alignment rows, T tokens, V vocabulary. Lin et al. 2023 (ESM-2), Rao et al. 2021 (MSA Transformer).
"""

import logging
import math
import time
from collections import Counter
from pathlib import Path

import esm
import h5py
import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from transformers import EsmConfig, EsmForMaskedLM

from hardfold import backbones
from hardfold.batches import pad, tokenize
from hardfold.pretraining.contact_head import fit_contact_head
from hardfold.pretraining.data import load_sequences
from hardfold.tables import write_json
from hardfold.trainer import ProgressLog, build_trainer, warmup_cosine
from hardfold.training import History, device, require_finite, seed_everything

MASKED, KEPT, SWAPPED = 0.15, 0.1, 0.1  # Devlin et al. 2019: of the 15 %, 10 % stay and 10 % become another residue
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def mask_tokens(tokens: Tensor, alphabet: esm.Alphabet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(input, target), both shaped as `tokens`: 15 % of residues and gaps hidden 80/10/10, target -100 elsewhere."""
    letters = torch.tensor([alphabet.get_idx(letter) for letter in RESIDUES])
    hideable = torch.isin(tokens, torch.cat([letters, torch.tensor([alphabet.get_idx("-")])]))
    draw = torch.rand(tokens.shape, generator=generator)
    hidden = hideable & (draw < MASKED)
    target = torch.where(hidden, tokens, torch.full_like(tokens, -100))
    swapped = hidden & (draw < MASKED * SWAPPED)
    masked = hidden & (draw >= MASKED * (SWAPPED + KEPT))
    random_letters = letters[torch.randint(len(letters), tokens.shape, generator=generator)]
    return torch.where(masked, alphabet.mask_idx, torch.where(swapped, random_letters, tokens)), target


class Crops(Dataset):
    """Training batches by number: batch n is the same on every machine, whatever came before it."""

    def __init__(self, records: list, cut, alphabet: esm.Alphabet, batch: int, steps: int, seed: int):
        self.records, self.cut, self.alphabet = records, cut, alphabet
        self.batch, self.steps, self.seed = batch, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        chosen = torch.randint(len(self.records), (self.batch,), generator=generator).tolist()
        crops = [self.cut(self.records[index], generator) for index in chosen]
        tokens = pad(crops, self.alphabet.padding_idx, dims=crops[0].dim())
        return mask_tokens(tokens, self.alphabet, generator)


def cut_sequence(crop: int, alphabet: esm.Alphabet):
    """A function (sequence, generator) -> tokens (T,) of a random crop, with CLS and EOS."""

    def cut(sequence: str, generator: torch.Generator) -> Tensor:
        start = int(torch.randint(max(1, len(sequence) - crop + 1), (1,), generator=generator))
        return tokenize(np.frombuffer(sequence[start : start + crop].encode(), np.uint8), alphabet)

    return cut


def cut_alignment(crop: int, rows: int, alphabet: esm.Alphabet):
    """A function (rows (N, L) uint8, generator) -> tokens (R, T): the query and random others, random columns, CLS."""

    def cut(alignment: np.ndarray, generator: torch.Generator) -> Tensor:
        start = int(torch.randint(max(1, alignment.shape[1] - crop + 1), (1,), generator=generator))
        others = 1 + torch.randperm(len(alignment) - 1, generator=generator)[: rows - 1].numpy()
        return tokenize(alignment[np.concatenate([[0], others]), start : start + crop], alphabet)

    return cut


class MaskedModel(lightning.LightningModule):
    """Cross entropy over hidden positions; AdamW with linear warm-up, then a cosine to a tenth of the rate."""

    def __init__(self, network: nn.Module, logits, settings: dict):
        super().__init__()
        self.network, self.logits, self.settings = network, logits, settings

    def training_step(self, batch, index):
        tokens, target = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings["bfloat16"]):
            logits = self.logits(tokens)
        loss = functional.cross_entropy(logits.float().flatten(0, -2), target.flatten())
        require_finite(loss.detach()[None], [f"batch {index}"], self.global_step)
        return loss

    def configure_optimizers(self):
        rate, steps, warmup = self.settings["learning_rate"], self.settings["steps"], self.settings["warmup"]
        matrices = [p for p in self.network.parameters() if p.dim() > 1]
        vectors = [p for p in self.network.parameters() if p.dim() <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}],
            lr=rate, betas=(0.9, 0.98), fused=True,
        )  # fmt: skip

        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": warmup_cosine(optimizer, warmup, steps), "interval": "step"},
        }


class Validation(lightning.Callback):
    """The held-out loss at step 0, every `every` steps and at the end, into the history."""

    def __init__(self, history: History, batches: list[tuple[Tensor, Tensor]], mask_idx: int, every: int):
        self.history, self.batches, self.mask_idx, self.every = history, batches, mask_idx, every
        self.losses = []

    def on_train_start(self, trainer, module):
        self._measure(trainer, module)

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.losses.append(float(outputs["loss"]))
        if trainer.global_step % self.every == 0 or trainer.global_step == module.settings["steps"]:
            self._measure(trainer, module)

    @torch.no_grad()
    def _measure(self, trainer, module):
        module.eval()
        total = count = 0.0
        for tokens, target in self.batches:
            tokens, target = tokens.to(module.device), target.to(module.device)
            logits = module.logits(tokens).float()
            # Positions that show the mask token alone: where the residue still stands, copying looks like learning.
            hidden = (target != -100) & (tokens == self.mask_idx)
            total += float(functional.cross_entropy(logits[hidden], target[hidden], reduction="sum"))
            count += int(hidden.sum())
        module.train()
        loss = total / count
        row = {"step": trainer.global_step, "validation_loss": loss, "validation_perplexity": math.exp(loss)}
        if self.losses:
            row["loss"] = float(np.mean(self.losses))
            self.losses.clear()
        self.history.append(row)
        logging.info("step %d: held-out perplexity %.2f", trainer.global_step, row["validation_perplexity"])


def train_sequence_model(data: Path, folder: Path, name: str, settings: dict, seed: int, threads: int) -> None:
    """Train an ESM-2 on `select_data`'s sequences; write it in the official layout with history.csv and training.json.

    settings: layers, dim, heads, crop, batch, steps, warmup, learning_rate, bfloat16, regression_chains. The training
    runs through transformers' EsmForMaskedLM (fused attention), whose weights are renamed afterwards.
    """
    seed_everything(seed, threads)
    model, alphabet = backbones.build_esm2(settings["layers"], settings["dim"], settings["heads"])
    fast = EsmForMaskedLM(_transformers_config(model))
    fast.load_state_dict(backbones.to_transformers(model.state_dict()), strict=False)
    sequences = {group: load_sequences(data, group) for group in ("train", "validation")}
    counts = Counter("".join(sequences["train"]))
    cut = cut_sequence(settings["crop"], alphabet)

    def logits(tokens):
        return fast(tokens, attention_mask=tokens.ne(alphabet.padding_idx)).logits

    report = _train(fast, logits, sequences, cut, alphabet, folder, name, settings, seed)
    model.load_state_dict(backbones.from_transformers(fast.state_dict()), strict=False)
    model.eval()
    report["unigram_perplexity"] = _unigram_perplexity(counts, sequences["validation"])
    report["contacts"] = fit_contact_head(model, alphabet, data, settings["regression_chains"])
    backbones.save(model, folder / f"{name}.pt", half=True)
    write_json(folder / "training.json", report)


def train_alignment_model(
    data: Path, alignments: Path, folder: Path, name: str, settings: dict, seed: int, threads: int
) -> None:
    """Train an MSA Transformer on `build_alignments`' file; otherwise as `train_sequence_model`. settings: rows too."""
    seed_everything(seed, threads)
    model, alphabet = backbones.build_esm_msa(settings["layers"], settings["dim"], settings["heads"])
    with h5py.File(alignments) as store:
        stored = {group: {key: rows[:] for key, rows in store[group].items()} for group in ("train", "validation")}
    records = {
        group: [rows for rows in members.values() if len(rows) >= settings["min_rows"]]
        for group, members in stored.items()
    }
    cut = cut_alignment(settings["crop"], settings["rows"], alphabet)
    report = _train(model, lambda tokens: model(tokens)["logits"], records, cut, alphabet, folder, name, settings, seed)
    model.eval()
    shown = {group: {key: rows[: settings["rows"]] for key, rows in stored[group].items()} for group in stored}
    report["contacts"] = fit_contact_head(model, alphabet, data, settings["regression_chains"], shown)
    backbones.save(model, folder / f"{name}.pt", half=True)
    write_json(folder / "training.json", report)


def _train(network, logits, records, cut, alphabet, folder, name, settings, seed):
    folder.mkdir(parents=True, exist_ok=True)
    module = MaskedModel(network, logits, settings)
    training = Crops(records["train"], cut, alphabet, settings["batch"], settings["steps"], seed)
    held_out = Crops(records["validation"], cut, alphabet, settings["batch"], settings["validation_batches"], seed + 1)
    history = History(folder / "history.csv", ["step", "loss", "validation_loss", "validation_perplexity"])
    batches = [held_out[index] for index in range(len(held_out))]
    validation = Validation(history, batches, alphabet.mask_idx, settings["validate_every"])
    trainer = build_trainer(max_steps=settings["steps"], callbacks=[ProgressLog(name), validation])
    start = time.monotonic()
    trainer.fit(module, DataLoader(training, batch_size=None))
    seconds = time.monotonic() - start
    return {
        "model": name,
        "settings": settings,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "records": {group: len(members) for group, members in records.items()},
        "validation_perplexity": float(history.rows[-1]["validation_perplexity"]),
        "seconds": seconds,
        "device": device().type,
        "threads": torch.get_num_threads(),
        "steps_per_second": settings["steps"] / seconds,
    }


def _transformers_config(model: esm.ESM2) -> EsmConfig:
    return EsmConfig(
        vocab_size=model.alphabet_size, mask_token_id=model.mask_idx, pad_token_id=model.padding_idx,
        hidden_size=model.embed_dim, num_hidden_layers=model.num_layers, num_attention_heads=model.attention_heads,
        intermediate_size=4 * model.embed_dim, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, layer_norm_eps=1e-5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def _unigram_perplexity(counts: Counter, validation: list[str]) -> float:
    """Perplexity of residue frequencies alone on the held-out sequences."""
    total = sum(counts[letter] for letter in RESIDUES)
    held_out = Counter("".join(validation))
    losses = {letter: -math.log(counts[letter] / total) for letter in RESIDUES}
    return math.exp(sum(held_out[k] * losses[k] for k in RESIDUES) / sum(held_out[k] for k in RESIDUES))

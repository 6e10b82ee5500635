"""Masked language models from scratch: ESM-2 on sequences and ESM-MSA-1b's architecture on alignments."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import esm
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import EsmConfig, EsmForMaskedLM

from hardfold import backbones
from hardfold.distributed import from_rank_zero, rank, ranks
from hardfold.jobs import library_hashes
from hardfold.pretraining.contact_head import fit_contact_head
from hardfold.pretraining.masked import HISTORY, MaskedModel
from hardfold.pretraining.masking import RESIDUES, MaskedBatches, cut_alignment, cut_sequence, plan_batches
from hardfold.pretraining.packing import load_alignments, load_sequences
from hardfold.tables import sha256, write_json
from hardfold.trainer import LAST, ProgressLog, build_trainer, last_checkpoint, resume_point
from hardfold.training import History, device, seed_everything

# Residues up to which plain attention beats torch's fused one in bf16 on a CPU (docs/benchmarks/pretraining.md).
PLAIN_CROP = 256


def train_sequence_model(
    data: Path, folder: Path, state: Path, name: str, settings: dict, seed: int, threads: int
) -> None:
    """Train an ESM-2 on `select_data`'s sequences; write it in the official layout with history.csv and training.json.

    state: a folder of checkpoints, from which a run that was cut short goes on. settings: layers, dim, heads, crop
    (residues), tokens (of a batch, all devices together), steps, warmup, learning_rate, bfloat16, workers,
    validate_every, regression_chains. The training runs through transformers' EsmForMaskedLM (fused attention), whose
    weights are renamed afterwards.
    """
    seed_everything(seed, threads)
    model, alphabet = backbones.build_esm2(settings["layers"], settings["dim"], settings["heads"])
    fused, logits = fused_model(model, alphabet, settings["crop"], settings["bfloat16"])
    sequences, clusters = load_sequences(data, "train")
    held_out, _ = load_sequences(data, "validation")

    cut = cut_sequence(settings["crop"], alphabet)
    lengths = np.array([len(sequence) for sequence in sequences])
    plan = plan_batches(
        lengths, clusters, settings["steps"], crop=settings["crop"], residues=settings["tokens"], seed=seed
    )
    batches = MaskedBatches(sequences, plan, cut, alphabet, seed)
    report = _train(fused, logits, batches, held_out, folder, state, name, settings, data)
    if rank() == 0:
        model.load_state_dict(backbones.from_transformers(fused.state_dict()), strict=False)
        report["clusters"] = len(np.unique(clusters))
        report["unigram_perplexity"] = unigram_perplexity(
            Counter("".join(sequences)), [sequence[: settings["crop"]] for sequence in held_out]
        )
        report["contacts"] = fit_contact_head(model.eval(), alphabet, data, settings["regression_chains"])
        _save(model, folder, state, name, report)


def train_alignment_model(
    data: Path, alignments: Path, folder: Path, state: Path, name: str, settings: dict, seed: int, threads: int
) -> None:
    """Train an MSA Transformer on `build_alignments`' folder; otherwise as `train_sequence_model`.

    settings: rows of an alignment that are shown at once, and min_rows, below which one is not used, too.
    """
    seed_everything(seed, threads)
    model, alphabet = backbones.build_esm_msa(settings["layers"], settings["dim"], settings["heads"])
    model.contact_head.requires_grad_(False)
    stored = {group: load_alignments(alignments, group) for group in ("train", "validation")}
    training, held_out = (
        [rows for rows in members.values() if len(rows) >= settings["min_rows"]] for members in stored.values()
    )
    cut = cut_alignment(settings["crop"], settings["rows"], alphabet)
    lengths = np.array([rows.shape[1] for rows in training])
    residues = settings["tokens"] // settings["rows"]
    plan = plan_batches(
        lengths, np.arange(len(lengths)), settings["steps"], crop=settings["crop"], residues=residues, seed=seed
    )
    batches = MaskedBatches(training, plan, cut, alphabet, seed)
    report = _train(model, lambda t: model(t)["logits"], batches, held_out, folder, state, name, settings, alignments)
    if rank() == 0:
        shown = {group: {key: rows[: settings["rows"]] for key, rows in stored[group].items()} for group in stored}
        model.cpu().eval()
        report["contacts"] = fit_contact_head(model, alphabet, data, settings["regression_chains"], shown)
        _save(model, folder, state, name, report)


def _train(network, logits, batches, held_out, folder, state, name, settings, data) -> dict:
    """Train, from the last checkpoint on where there is one; the report's part that is alike for both kinds."""
    if not held_out:
        raise ValueError(f"{name}: no record to validate on")
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"settings": settings, "seed": batches.seed, "code": library_hashes("pretraining.language")}
    identity["data"] = {path.name: sha256(path) for path in sorted(Path(data).glob("*.h5"))}
    last = from_rank_zero(lambda: resume_point(state, identity))
    # One record a batch: each is of another cluster, and counts alike.
    plan = [[(index, 0)] for index in range(len(held_out))]
    held_out = MaskedBatches(held_out, plan, batches.cut, batches.alphabet, batches.seed + 1)
    held_out = [held_out[index] for index in range(len(held_out))]
    history = History(None if rank() else folder / "history.csv", HISTORY)
    module = MaskedModel(network, logits, batches, held_out, history, settings)
    trainer = build_trainer(
        max_epochs=module.intervals,
        callbacks=[ProgressLog(name, steps=settings["steps"]), last_checkpoint(state)],
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module, ckpt_path=last, weights_only=True)
    logging.info("%s: %d tokens in %.0f s", name, module.tokens, module.seconds)
    return {
        "model": name,
        "settings": settings,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "records": {"train": len(batches.records), "validation": len(held_out)},
        "validation_perplexity": float(module.history.rows[-1]["validation_perplexity"]),
        "tokens": module.tokens,
        "seconds": module.seconds,
        "tokens_per_second": module.tokens / module.seconds,
        "device": device().type,
        "threads": torch.get_num_threads() * ranks(),
    }


def _save(model, folder, state, name, report):
    backbones.save(model, folder / f"{name}.pt", half=True)
    write_json(folder / "training.json", report)
    # The run is complete: one that is forced starts anew.
    Path(state, LAST).unlink()


def fused_model(
    model: esm.ESM2, alphabet: esm.Alphabet, crop: int, bfloat16: bool
) -> tuple[EsmForMaskedLM, Callable[[Tensor], Tensor]]:
    """The same weights as transformers' EsmForMaskedLM, attention and GELU fused, and its function tokens -> logits."""
    fused = EsmForMaskedLM(_transformers_config(model))
    fused.load_state_dict(backbones.to_transformers(model.state_dict()), strict=False)
    fused.esm.contact_head.requires_grad_(False)  # fitted afterwards
    if bfloat16 and device().type == "cpu" and crop <= PLAIN_CROP:
        fused.set_attn_implementation("eager")
    for layer in fused.esm.encoder.layer:
        layer.intermediate.forward = partial(_widen, layer.intermediate.dense)
    return fused, lambda tokens: fused(tokens, attention_mask=tokens.ne(alphabet.padding_idx)).logits


def _widen(dense, states):
    # The library's own GELU is the same function in five passes over the widest tensors.
    return functional.gelu(dense(states))


def _transformers_config(model: esm.ESM2) -> EsmConfig:
    return EsmConfig(
        vocab_size=model.alphabet_size, mask_token_id=model.mask_idx, pad_token_id=model.padding_idx,
        hidden_size=model.embed_dim, num_hidden_layers=model.num_layers, num_attention_heads=model.attention_heads,
        intermediate_size=4 * model.embed_dim, position_embedding_type="rotary", token_dropout=True,
        emb_layer_norm_before=False, layer_norm_eps=1e-5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def unigram_perplexity(counts: Mapping[str, int], held_out: list[str]) -> float:
    """Perplexity of the residue frequencies `counts` alone on held-out sequences, each of which counts alike."""
    total = sum(counts[letter] for letter in RESIDUES)
    losses = {letter: -math.log(counts[letter] / total) for letter in RESIDUES}
    means = [np.mean([losses[letter] for letter in sequence if letter in losses]) for sequence in held_out]
    return math.exp(np.mean(means))

"""A small ESMFold architecture from scratch, on the frozen ESM-2 of `train_sequence_model`."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch

from hardfold import backbones, mmseqs, scoring
from hardfold.distributed import from_rank_zero, rank, ranks
from hardfold.folding.adapters import save_alignment
from hardfold.folding.alignment import NAME, AlignmentAdapter
from hardfold.folding.finetune import digest
from hardfold.folding.fused import fuse
from hardfold.folding.losses import CA
from hardfold.folding.model import (
    build_model,
    checkpoint_blocks,
    folding_config,
    keep_precision,
    place,
    save_model,
)
from hardfold.folding.module import HISTORY, VALIDATION, ChainSet, Crops, FoldingModule, plan_steps
from hardfold.folding.nearest import copy_structure
from hardfold.jobs import library_hashes
from hardfold.pretraining.features import NoFeatures, PackedFeatures
from hardfold.pretraining.packing import load_stretches
from hardfold.tables import sha256, write_json
from hardfold.trainer import LAST, ProgressLog, build_trainer, last_checkpoint, resume_point
from hardfold.training import History, count_parameters, device, load_trained_state, seed_everything, trained_state

# What fine-tuning lets its users choose.
FIXED = {"schedule": "cosine", "accumulate_batches": 1, "patience": 0}
WALKS = 10
NEAREST_EVALUE = 10_000  # anything like it was left out of the training data
ALIGNED = tuple(f"{column}_aligned" for column in ("validation_loss", "validation_tm", "validation_lddt"))


class PretrainingModule(FoldingModule):
    """The curriculum of `stages`, one after the other: longer crops, and a larger share of clamped FAPE (clamped, an
    untrained model gets no gradient; AlphaFold2, 1.9.1 and 1.11.1). The rate falls as a cosine to a tenth.

    What is validated, and kept in the end, is the exponential moving average of the weights (1.11.7). A stage begins
    with an interval: its steps are a multiple of `validate_every`.

    A model with an AlignmentAdapter reads the alignments of a share `read_alignments` of the crops, so that it folds
    single sequences too: both are validated, `aligned` being the validation chains with their alignments.
    """

    def __init__(self, model, train, validation, history, *, settings: Mapping, seed: int, aligned: Crops | None):
        stages = settings["stages"]
        first = {key: stages[0][key] for key in ("crop", "fape_clamped")}
        super().__init__(
            model,
            train,
            validation,
            history,
            weights={name: settings[name] for name in ("fape", "confidence", "contact")}
            | {"fape_clamped": first["fape_clamped"], "fape_blocks": ()},
            settings=settings
            | FIXED
            | {"steps": total_steps(stages), "batch_size": stages[0]["batch"], "crop": first["crop"]}
            | {"alignment_learning_rate": settings["learning_rate"]},
            recycles=settings["recycles"],
            chunk_size=0,
            seed=seed,
        )
        plans = [plan_stage(train, stage, seed + number) for number, stage in enumerate(stages)]
        self.plan = [batch for plan in plans for batch in plan]
        self.aligned = aligned
        self.average = trained_state(model)

    def train_dataloader(self):
        self.train_crops.length = stage_at(self.settings["stages"], self.global_step)["crop"]
        return super().train_dataloader()

    def training_step(self, batch, index):
        clamped = stage_at(self.settings["stages"], self.global_step)["fape_clamped"]
        self.weights = {**self.weights, "fape_clamped": clamped}
        return super().training_step(self._hidden(batch) if self.aligned else batch, index)

    def _hidden(self, batch: Mapping) -> dict:
        """The batch without the alignments of those that it folds as single sequences."""
        shown = torch.rand(len(batch["ids"])) < self.settings["read_alignments"]
        shown = shown[:, None, None].to(batch["profile"])
        return {**batch, "profile": batch["profile"] * shown, "couplings": batch["couplings"] * shown}

    @torch.no_grad()
    def on_train_batch_end(self, outputs, batch, index):
        decay = min(self.settings["average"], (1 + self.global_step) / (10 + self.global_step))
        for name, value in trained_state(self.model).items():
            self.average[name].lerp_(value, 1 - decay)
        super().on_train_batch_end(outputs, batch, index)

    def measure(self, chains):
        current = trained_state(self.model)
        load_trained_state(self.model, self.average)
        figures = super().measure(chains)
        if self.aligned:
            read = super().measure(self.aligned)
            figures |= {column: read[column.removesuffix("_aligned")] for column in ALIGNED}
        load_trained_state(self.model, current)
        return figures

    def on_save_checkpoint(self, checkpoint):
        super().on_save_checkpoint(checkpoint)
        checkpoint["run"]["average"] = self.average

    def on_load_checkpoint(self, checkpoint):
        super().on_load_checkpoint(checkpoint)
        self.average = checkpoint["run"]["average"]


def total_steps(stages: Sequence[Mapping]) -> int:
    return sum(stage["steps"] for stage in stages)


def stage_at(stages: Sequence[Mapping], step: int) -> Mapping:
    """The stage that a step (from 0) belongs to; after the end the last."""
    ends = accumulate(stage["steps"] for stage in stages)
    return next((stage for stage, end in zip(stages, ends, strict=True) if step < end), stages[-1])


def plan_stage(train: Crops, stage: Mapping, seed: int) -> list[list[tuple[int, int]]]:
    """`plan_steps` of a stage: over all chains, or over those with an alignment where it is `aligned`."""
    chosen = [
        index
        for index, chain in enumerate(train.chains)
        if not stage["aligned"] or chain.id in train.alignments.aligned
    ]
    lengths = [len(train.chains[index].sequence) for index in chosen]
    plan = plan_steps(lengths, stage["steps"], stage["batch"], stage["crop"], seed)
    return [[(chosen[index], start) for index, start in batch] for batch in plan]


def train_folding_model(
    data: Path,
    stem: Path,
    alignments: Path | None,
    folder: Path,
    state: Path,
    name: str,
    settings: dict,
    seed: int,
    threads: int,
) -> None:
    """Train trunk, structure module and heads on `select_data`'s stretches; the stem (an ESM-2 .pt) stays frozen.

    alignments: `build_alignments`' folder, of a model that reads them. state: a folder of checkpoints, from which a run
    that was cut short goes on. settings: trunk (of TrunkConfig), confidence_width, read_alignments (share of crops; 0:
    no adapter), stages (steps, crop, batch, fape_clamped, aligned each), warmup, learning_rate, average (its decay),
    precision, activation_checkpointing, validate_every, validation_chains, recycles and the weights fape, confidence,
    contact. Writes config.json, model.safetensors (fp16), alignment.safetensors (of the adapter), history.csv and
    training.json.
    """
    seed_everything(seed, threads)
    model = build_on_stem(stem, settings["trunk"], settings["confidence_width"])
    chains = {group: ChainSet(load_stretches(data, group)) for group in ("train", "validation")}
    held_out = chains["validation"]
    chains["validation"] = ChainSet({id: held_out[id] for id in held_out.ids[: settings["validation_chains"]]})
    identity = {"settings": settings, "seed": seed, "stem": sha256(stem)}
    if alignments:
        AlignmentAdapter(model, 0)
        features = {group: PackedFeatures(data, alignments, group) for group in chains}
        aligned = Crops(chains["validation"], alignments=features["validation"])
    else:
        features, aligned = dict.fromkeys(chains), None
    first = settings["stages"][0]["crop"]
    crops = [
        Crops(chains["train"], first, features["train"]),
        Crops(chains["validation"], alignments=NoFeatures() if alignments else None),
    ]
    read = [crops[0], aligned or crops[1]]
    identity |= {"data": [digest(part) for part in read], "code": library_hashes("pretraining.folding")}
    last = from_rank_zero(lambda: resume_point(state, identity))
    place(model, device(), half_stem=False)
    fuse(model)
    if settings["activation_checkpointing"]:
        checkpoint_blocks(model)
    if settings["precision"] == "bf16-mixed":
        keep_precision(model)
    folder.mkdir(parents=True, exist_ok=True)
    history = History(None if rank() else folder / "history.csv", [*HISTORY, *(ALIGNED if alignments else ())])
    module = PretrainingModule(model, *crops, history, settings=settings, seed=seed, aligned=aligned).train()
    trainer = build_trainer(
        max_epochs=module.intervals,
        callbacks=[ProgressLog(name, steps=total_steps(settings["stages"])), last_checkpoint(state)],
        reload_dataloaders_every_n_epochs=1,
        find_unused_parameters=True,  # heads without a loss
    )
    trainer.fit(module, ckpt_path=last, weights_only=True)
    if rank():
        return
    load_trained_state(model, module.average)
    parameters = count_parameters(model)
    if alignments:
        save_alignment(model, folder)
        delattr(model.trunk, NAME)
    save_model(model, folder, half=True)
    last_row = history.rows[-1]
    measured = [column for column in (*VALIDATION, *ALIGNED) if last_row.get(column)]
    report = {
        "model": name,
        "settings": settings,
        "parameters": parameters,
        "records": {group: len(members.ids) for group, members in chains.items()},
        **{column: float(last_row[column]) for column in measured},
        "random_walk_tm": random_walk_tm(crops[1], seed),
        **nearest_training(chains["validation"], chains["train"], threads),
        "residues": module.residues,
        "seconds": sum(module.seconds.values()),
        **module.seconds,
        "device": device().type,
        "threads": threads * ranks(),
    }
    write_json(folder / "training.json", report)
    # The run is complete: one that is forced starts anew.
    Path(state, LAST).unlink()


def random_walk_tm(whole: Crops, seed: int) -> float:
    """The floor: the mean TM-score of WALKS random compact walks for each chain."""
    generator, scores = np.random.default_rng(seed), []
    for chain in whole.chains:
        native = chain.coordinates[chain.resolved, CA].numpy()
        walks = scoring.random_walks(len(native), WALKS, generator)
        scores.append(np.mean([scoring.tm_score(walk, native) for walk in walks]))
    return float(np.mean(scores))


def nearest_training(held_out: ChainSet, train: ChainSet, threads: int) -> dict[str, float]:
    """What copying gives: nearest_training_found, the number of held-out chains that MMseqs2 (-s 7.5) finds a training
    chain for at any e-value up to NEAREST_EVALUE, and nearest_training_tm, the mean TM-score over all of them of the
    structure with the lowest e-value, copied by `copy_structure`; 0 for a chain without one.
    """
    sequences = [{id: chains[id].sequence for id in chains.ids} for chains in (held_out, train)]
    hits = mmseqs.search(*sequences, "-e", NEAREST_EVALUE, threads=threads)
    nearest = hits.sort_values("evalue", kind="stable").drop_duplicates("query").set_index("query")["subject"]
    scores = []
    for id in held_out.ids:
        chain, copied = held_out[id], np.full_like(held_out[id].coordinates, np.nan)
        if id in nearest:
            template = train[nearest[id]]
            copied = copy_structure(chain.sequence, template.sequence, template.coordinates)
        scores.append(scoring.score(copied[:, CA], chain.coordinates[:, CA])["tm"])
    return {"nearest_training_found": len(nearest), "nearest_training_tm": float(np.mean(scores))}


def build_on_stem(stem: Path, trunk: Mapping, confidence_width: int):
    """An untrained folding model on the frozen ESM-2 of an official .pt file."""
    language_model, _ = backbones.load(stem)
    size = {
        "num_hidden_layers": language_model.num_layers,
        "hidden_size": language_model.embed_dim,
        "num_attention_heads": language_model.attention_heads,
    }
    model = build_model(folding_config(size, trunk, confidence_width))
    state = backbones.to_transformers(language_model.state_dict())
    model.esm.load_state_dict(
        {key.removeprefix("esm."): value for key, value in state.items() if key.startswith("esm.")}, strict=False
    )
    model.esm.requires_grad_(False)
    return model

"""Training of one experiment."""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from hardfold import tracking
from hardfold.contact.experiment import build_model, load_weights
from hardfold.contact.module import HISTORY, ContactModule
from hardfold.contact.samples import Samples
from hardfold.contact.seen import digests, require_unseen
from hardfold.distributed import from_rank_zero, rank, ranks, summed
from hardfold.jobs import library_hashes
from hardfold.tables import sha256, whole_file, write_json
from hardfold.trainer import LAST, ProgressLog, build_trainer, checkpoints, resume_point
from hardfold.training import CONFIG, History, count_parameters, device, peak_memory_mb, seed_everything


def train_experiment(
    *,
    experiment: str,
    options: Mapping,
    seed: int,
    threads: int,
    train: Path,
    validation: Path,
    esm2: Path,
    esm_msa: Path | None,
    embeddings: Path,
    state: Path,
    output: Path,
    tracked: Mapping | None = None,
    assignment: Path | None = None,
    held_out: Sequence[Path] = (),
) -> None:
    """Train on the chains of `train`, keep the epoch that is best by `checkpoints_metric`. On several devices
    `hardfold.nodes.launch` runs this in a process for each, of which rank zero writes.

    esm2, esm_msa: folders of fetched weights; embeddings: what frozen layers give (contact.embeddings); state: a folder
    of checkpoints, from which a run that was cut short goes on; tracked: see `hardfold.tracking`; assignment, held_out:
    assignment.tsv and the held-out data sets, with a `checkpoint_path_to_load` (contact.seen). Writes model.safetensors
    (the trained parameters alone), config.json (which with the backbones rebuilds the model, and names the chains it
    was trained on), history.csv and training.json into the folder `output`.
    """
    if ranks() != options["devices"]:
        raise ValueError(f"devices: {options['devices']}, but there are {ranks()} processes")
    seed_everything(seed, threads)
    start, output, state = time.monotonic(), Path(output), Path(state)
    model, records = build_model(options, esm2, esm_msa)
    seen, loaded = digests(train), None
    read = {"train": train, "validation": validation}
    if options["checkpoint_path_to_load"]:
        read["checkpoint"] = options["checkpoint_path_to_load"]
        load_weights(model, records, read["checkpoint"])
        loaded = json.loads(Path(read["checkpoint"]).with_name(CONFIG).read_text()).get("trained_on")
        if loaded is not None:
            require_unseen(read["checkpoint"], loaded, assignment, held_out)
            seen |= dict(loaded)
    # Nothing is known of what a checkpoint without a record has seen, nor of a model that starts from it.
    known = loaded is not None or "checkpoint" not in read
    config = {"experiment": experiment, "seed": seed, "options": dict(options), "weights": records}
    config["trained_on"] = sorted(seen.items()) if known else None
    data = {name: sha256(path) for name, path in read.items()}
    identity = {**config, "data": data, "code": library_hashes("contact.train")}
    last = from_rank_zero(lambda: resume_point(state, identity))
    model.to(device())
    samples = {name: Samples(read[name], model, embeddings) for name in ("train", "validation")}
    module = ContactModule(model, **samples, history=History(output / "history.csv", HISTORY), seed=seed)
    metric = options["checkpoints_metric"]
    keep = checkpoints(state, metric, options["maximize_metric"], options["save_best_k_checkpoints"])
    trainer = build_trainer(
        callbacks=[ProgressLog(experiment), *keep],
        logger=tracking.logger(tracked, config, state) if tracked and rank() == 0 else False,
        max_epochs=options["num_epochs"],
        precision=options["precision"],
        accumulate_grad_batches=options["accumulate_batches"],
        gradient_clip=options["gradient_clip"],
        # The column attention of an alignment of one row has no use for its queries and keys.
        find_unused_parameters=options["use_msa"] and not model.esm_msa.is_frozen,
        reload_dataloaders_every_n_epochs=1,
    )
    fit_start = time.monotonic()
    trainer.fit(module, ckpt_path=last, weights_only=True)
    fit_seconds = time.monotonic() - fit_start
    (residues,) = summed([module.residues])
    best = keep[0]
    if not math.isfinite(best.best_model_score):
        raise ValueError(f"{metric} is undefined in every epoch: do the chains of {validation} have contacts?")
    if rank():
        return
    kept = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    best_epoch = kept["epoch"] + 1
    with whole_file(output / "model.safetensors") as temporary:
        save_file(kept["state_dict"], temporary)
    write_json(output / CONFIG, config)
    write_json(
        output / "training.json",
        {
            "experiment": experiment,
            "seconds": round(time.monotonic() - start, 3),
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "best_epoch": best_epoch,
            "peak_memory_mb": round(peak_memory_mb(), 1),
            "residues_per_second": round(residues / fit_seconds, 1),
            "parameters": count_parameters(model),
            "weights": records,
            "checkpoint_chains": None if loaded is None else len(loaded),
            "loaded_keys": {name: len(encoder.model.state_dict()) for name, encoder in model.encoders().items()},
        },
    )
    # The run is complete: one that is forced starts anew. The best checkpoints stay.
    Path(state, LAST).unlink()
    logging.info("best epoch %d, %s %.4f", best_epoch, metric, best.best_model_score)

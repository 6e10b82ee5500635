"""Fine-tuning a folding model: the run of one arm and seed, its history and its record."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn
from transformers import EsmForProteinFolding

from hardfold.arms import MEMORISATION, SHUFFLED
from hardfold.folding.adapters import adapted_modules, add_adapter, save_adapter, trained_parameters
from hardfold.folding.alignment import AlignmentAdapter, AlignmentFeatures
from hardfold.folding.memory import require_inference, require_training
from hardfold.folding.model import checkpoint_blocks, keep_precision, load_model, place
from hardfold.folding.module import HISTORY, Chains, Crops, FoldingModule, validated
from hardfold.folding.predict import fold_sequence, step0_difference
from hardfold.jobs import library_hashes
from hardfold.tables import write_json
from hardfold.trainer import LAST, ProgressLog, build_trainer, last_checkpoint, resume_point
from hardfold.training import History, count_parameters, device, load_trained_state, peak_memory_mb, seed_everything
from hardfold.weights import verify

STEP0_CHAINS = 3  # validation chains, the shortest, on which step 0 is compared with the untouched model
STEP0_TOLERANCE = 1e-4  # angstrom, on a GPU
PLATEAU = 0.01


def finetune(
    *,
    arm: str,
    seed: int,
    weights: Path,
    train: Chains,
    validation: Chains,
    output: Path,
    state: Path,
    options: Mapping,
    threads: int,
    alignments: Mapping[str, AlignmentFeatures],
) -> None:
    """Adapt the model in `weights` to the chains of `train`; write adapter/, history.csv and training.json to `output`.

    train, validation: a `Dataset`, or what reads like one (`module.ChainSet`); state: a folder of checkpoints, from
    which a run that was cut short goes on; options: the configuration's adapter, training, losses, recycles, chunk_size
    and half_stem; alignments: of `train` and `validation`, for a model that shall read them, or none. Without
    `training.patience` the last step is kept, with it the step of the lowest validation loss, step 0 among them. Raises
    NonFiniteLoss, naming the chains, where a loss or gradient is not finite, and TooLong, naming the chain, where it
    does not fit into memory.
    """
    start, output, state = time.monotonic(), Path(output), Path(state)
    seed_everything(seed, threads)
    settings = dict(options["training"])
    if arm in (MEMORISATION, SHUFFLED):
        settings["patience"] = 0  # of what is learnt by heart, or wrong, chains held out would keep nothing
    source = verify(weights)
    train = Crops(train, settings["crop"], alignments.get("train"))
    validation = Crops(validation, None, alignments.get("validation"))
    chains = {"train": train, "validation": validation}
    if empty := [name for name, crops in chains.items() if not len(crops)]:
        raise ValueError(f"{arm}: no chains for {' and '.join(empty)}")
    identity = {"arm": arm, "seed": seed, **options, "weights": source["files"]}
    identity |= {"data": {name: digest(crops) for name, crops in chains.items()}}
    last = resume_point(state, identity | {"code": library_hashes("folding.finetune")})
    model, keys = load_model(weights)
    place(model, device(), options["half_stem"])
    lengths = {name: {chain.id: len(chain.sequence) for chain in crops.chains} for name, crops in chains.items()}
    require_training(model, lengths["train"], settings, options["adapter"]["blocks"])
    require_inference(model, lengths["validation"], options["chunk_size"])
    adapted, difference = adapt(model, validation, options)
    history = History(output / "history.csv", HISTORY)
    module = FoldingModule(
        adapted,
        **chains,
        history=history,
        weights=options["losses"],
        settings=settings,
        recycles=options["recycles"],
        chunk_size=options["chunk_size"],
        seed=seed,
    )
    trainer = build_trainer(
        callbacks=[ProgressLog(f"{arm}, seed {seed}", steps=settings["steps"]), last_checkpoint(state)],
        max_epochs=module.intervals,
        accumulate_grad_batches=settings["accumulate_batches"],
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(module.train(), ckpt_path=last, weights_only=True)
    kept = trainer.global_step
    if module.best:
        kept = module.best["step"]
        load_trained_state(adapted, module.best["state"])
    save_adapter(adapted, output / "adapter")
    trained, seconds = trained_parameters(adapted), module.seconds
    content = {
        "arm": arm,
        "seed": seed,
        "steps": trainer.global_step,
        "kept_step": kept,
        "learning_rate": settings["learning_rate"],
        "trainable_parameters": sum(trained.values()),
        "total_parameters": count_parameters(adapted)["total"],
        "trained": trained,
        "adapted_modules": adapted_modules(adapted),
        "chains": len(chains["train"]),
        "step0_max_difference": difference,
        "convergence": convergence(validated(history)),
        "weights": source,
        "loaded_keys": keys,
        "seconds": time.monotonic() - start + module.earlier_seconds,
        **seconds,
        "peak_memory_mb": peak_memory_mb(),
        "tokens_per_second": module.residues / seconds["training_seconds"],
    }
    write_json(output / "training.json", content)
    # The run is complete: one that is forced starts anew.
    Path(state, LAST).unlink()


def digest(chains: Crops) -> str:
    """sha256 of all that training reads of the chains."""
    read = hashlib.sha256()
    for chain in chains.chains:
        read.update(f"{chain.id} {chain.sequence}\n".encode())
        alignment = chains.alignments and chains.alignments.read(chain.id, 0, len(chain.sequence))
        for array in (chain.coordinates, chain.resolved, *(alignment or ())):
            read.update(array.numpy().tobytes())
    return read.hexdigest()


def adapt(model: EsmForProteinFolding, chains: Crops, options: Mapping) -> tuple[nn.Module, float]:
    """The model made ready for training by `options`, and its largest shift of an atom, angstrom, by what was added.

    Measured on the shortest of `chains`; where these have alignments, the model is made to read them. Raises
    RuntimeError where the shift is not next to nothing.
    """
    lengths = [len(chain.sequence) for chain in chains.chains]
    shortest = [chains[index, 0] for index in np.argsort(lengths, kind="stable")[:STEP0_CHAINS]]
    settings = options["recycles"], options["chunk_size"]
    before = [fold_sequence(model, chain.sequence, *settings)[0] for chain in shortest]
    adapted = add_adapter(model, **options["adapter"])
    if chains.alignments:
        AlignmentAdapter(model, len(model.trunk.blocks) - options["adapter"]["blocks"])
    adapted.eval()
    if options["training"]["activation_checkpointing"]:
        checkpoint_blocks(model)
    if options["training"]["precision"] == "bf16-mixed":
        keep_precision(model)
    after = [fold_sequence(adapted, chain.sequence, *settings, chain.alignment)[0] for chain in shortest]
    difference = step0_difference(before, after)
    if not difference <= (STEP0_TOLERANCE if device().type == "cuda" else 0):
        raise RuntimeError(f"the untrained adapter moves atoms by up to {difference:.2g} angstrom")
    return adapted, difference


def convergence(validated: Mapping[int, float]) -> dict:
    """Whether the validation loss (step -> loss) has levelled off: criterion in words, value, met.

    Over the last third of the run, a straight line through the losses changes by less than 1 % of their mean.
    """
    criterion = f"validation loss changes by less than {PLATEAU:.0%} over the last third of the steps (linear fit)"
    steps = np.array([step for step in sorted(validated) if 3 * step >= 2 * max(validated)])
    if len(steps) < 2:
        return {"criterion": criterion, "met": False, "value": None}
    losses = np.array([validated[step] for step in steps])
    change = abs(np.polyfit(steps, losses, 1)[0]) * (steps[-1] - steps[0]) / abs(losses.mean())
    return {"criterion": criterion, "met": bool(change < PLATEAU), "value": float(change)}

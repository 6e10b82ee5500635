"""Lightning's part in training: the Trainer, a log of progress, schedules, checkpoints."""

import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from torch.optim.lr_scheduler import LambdaLR

from hardfold.distributed import local_ranks, ranks
from hardfold.tables import whole_file, write_json
from hardfold.training import CONFIG, read_checkpoint

GRADIENT_NORM = 1.0
LAST = "last.ckpt"  # what a run that was cut short goes on from


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear whole, also where the temporary folder is on another disk than theirs."""

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        with whole_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def build_trainer(
    *,
    callbacks: Iterable[lightning.Callback] = (),
    gradient_clip: float = GRADIENT_NORM,
    find_unused_parameters: bool = False,
    logger=False,
    **settings,
) -> lightning.Trainer:
    """Lightning's Trainer on one device, or by DDP on one for each process (hardfold.distributed); deterministic and
    silent: our history and progress lines replace its own.

    gradient_clip: the largest norm of the gradient, 0 for any. find_unused_parameters: whether a process's batch may
    leave out some that are trained. Checkpoints are written by the callbacks alone.
    """
    for message in (
        r"Found \d+ module\(s\) in eval mode",  # frozen parts, on purpose
        "Checkpoint directory .* exists and is not empty",  # of a run that was cut short
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own
        "The `srun` command is available",  # jobs are one task each
    ):
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    callbacks = list(callbacks)
    ddp = DDPStrategy(find_unused_parameters=find_unused_parameters, forward_sync_buffers=False)
    return lightning.Trainer(
        accelerator="auto",
        devices=local_ranks(),
        num_nodes=ranks() // local_ranks(),
        strategy=ddp if ranks() > 1 else "auto",
        use_distributed_sampler=False,  # each process has its share of the batches already
        deterministic=True,
        logger=logger,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        gradient_clip_val=gradient_clip or None,
        callbacks=callbacks,
        # Not Slurm's environment, in which a process of Lightning is a task of the job.
        plugins=[WholeCheckpoints(), LightningEnvironment()],
        **settings,
    )


def checkpoints(folder: Path, metric: str, maximise: bool, count: int) -> list[ModelCheckpoint]:
    """Callbacks at each epoch's end: keep the `count` epochs best by `metric` (the earlier of equals), and the last.

    The order matters: the last checkpoint holds which are the best ones.
    """
    name, mode = f"{{epoch}}-{{{metric}:.4f}}", "max" if maximise else "min"
    best = ModelCheckpoint(
        dirpath=folder, filename=name, monitor=metric, mode=mode, save_top_k=count, enable_version_counter=False
    )
    return [best, last_checkpoint(folder)]


def last_checkpoint(folder: Path) -> ModelCheckpoint:
    """A callback at each epoch's end that keeps the last: what `resume_point` finds."""
    return ModelCheckpoint(dirpath=folder, filename=Path(LAST).stem, enable_version_counter=False)


def resume_point(folder: Path, identity: Mapping) -> Path | None:
    """The last checkpoint in `folder` of a run that was cut short, if that run's `identity`, plain values, is the same.

    All else in the folder is removed, and the log says why: no run goes on from another's state.
    """
    identity, record, last = json.loads(json.dumps(identity)), Path(folder, CONFIG), Path(folder, LAST)
    if last.is_file():
        try:
            before, now = (_flat(values) for values in (json.loads(record.read_text()), identity))
            read_checkpoint(last)
            other = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
            fault = f"is of a run with other {', '.join(other)}" if other else ""
        except (FileNotFoundError, ValueError) as cause:
            fault = f"cannot be gone on from ({cause})"
        if not fault:
            logging.info("going on from %s", last)
            return last
        logging.warning("%s %s: starting anew", last, fault)
    if folder.exists():
        shutil.rmtree(folder)
    write_json(record, identity)
    return None


def _flat(identity):
    """The values of sections, by `section.key`."""
    flat = {key: value for key, value in identity.items() if not isinstance(value, dict)}
    sections = {section: values for section, values in identity.items() if isinstance(values, dict)}
    return flat | {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> LambdaLR:
    """Schedule by step: a linear rise over `warmup` steps, then a cosine down to a tenth of the rate at `steps`."""

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup))))

    return LambdaLR(optimizer, factor)


class ProgressLog(lightning.Callback):
    """Log the step, the loss and an estimate of the time left, every few seconds. steps: all, where epochs differ."""

    def __init__(self, what: str, every: float = 10.0, steps: int | None = None):
        self.what, self.every, self.steps = what, every, steps

    def on_train_start(self, trainer, module):
        self.start = None
        self.first_step = self.last_step = trainer.global_step
        self.total = self.steps or int(trainer.estimated_stepping_batches)

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        # Not before: what is validated before the first step would spoil the estimate.
        if self.start is None:
            self.start = self.last = time.monotonic()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        now, step = time.monotonic(), trainer.global_step
        if step > self.last_step and (now - self.last >= self.every or step == self.total):
            self.last, self.last_step = now, step
            left = (now - self.start) / (step - self.first_step) * (self.total - step)
            message = "%s: step %d of %d (epoch %d), loss %.4f, about %.0f s left"
            logging.info(message, self.what, step, self.total, trainer.current_epoch + 1, float(outputs["loss"]), left)

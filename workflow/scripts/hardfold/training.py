"""What every training run shares: seeds, the Trainer, the history, a log of progress, a stop at NaN, trained states."""

import csv
import logging
import math
import resource
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hardfold.tables import whole_file

GRADIENT_NORM = 1.0


class NonFiniteLoss(RuntimeError):
    """A loss that is NaN or infinite; the message names the step and the samples."""


def seed_everything(seed: int, threads: int = 1) -> None:
    """Seed Python, NumPy and torch, and keep this process to `threads` torch threads."""
    torch.set_num_threads(threads)
    lightning.seed_everything(seed, verbose=False)


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_trainer(*, callbacks: Iterable[lightning.Callback] = (), **settings) -> lightning.Trainer:
    """Lightning's Trainer on one device, deterministic and silent: our history and progress lines replace its own."""
    # Frozen parts are in eval mode on purpose.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    return lightning.Trainer(
        accelerator="auto",
        devices=1,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=GRADIENT_NORM,
        callbacks=list(callbacks),
        **settings,
    )


def warmup_cosine(optimizer: torch.optim.Optimizer, warmup: int, steps: int) -> LambdaLR:
    """Schedule by step: a linear rise over `warmup` steps, then a cosine down to a tenth of the rate at `steps`."""

    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - warmup))))

    return LambdaLR(optimizer, factor)


def require_finite(losses: Tensor, ids: Sequence[str], step: int) -> None:
    """Raise NonFiniteLoss, naming the samples, unless all `losses` (B,) of the samples `ids` are finite."""
    culprits = [f"{name} ({loss})" for name, loss in zip(ids, losses.tolist(), strict=True) if not math.isfinite(loss)]
    if culprits:
        raise NonFiniteLoss(f"the loss is not finite at step {step} for {', '.join(culprits)} of {', '.join(ids)}")


class History:
    """A CSV file of one row an epoch or interval, rewritten whole at each `append`; unknown values are empty fields."""

    def __init__(self, path: Path, columns: list[str]):
        self.path, self.columns, self.rows = Path(path), columns, []

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Add a row. Raises ValueError for a column that the history does not have."""
        if unknown := set(row) - set(self.columns):
            raise ValueError(f"{self.path}: no column {', '.join(sorted(unknown))}")
        self.rows.append({name: _text(row.get(name)) for name in self.columns})
        with whole_file(self.path) as temporary, open(temporary, "w", newline="") as handle:
            writer = csv.DictWriter(handle, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


def _text(value):
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


class ProgressLog(lightning.Callback):
    """Log the step, the loss and an estimate of the time left, every few seconds."""

    def __init__(self, what: str, every: float = 10.0):
        self.what, self.every = what, every

    def on_train_start(self, trainer, module):
        self.start = self.last = time.monotonic()
        self.first_step = trainer.global_step
        self.total = int(trainer.estimated_stepping_batches)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_index):
        now, step = time.monotonic(), trainer.global_step
        if now - self.last >= self.every or step == self.total:
            self.last = now
            left = (now - self.start) / (step - self.first_step) * (self.total - step)
            message = "%s: step %d of %d (epoch %d), loss %.4f, about %.0f s left"
            logging.info(message, self.what, step, self.total, trainer.current_epoch + 1, float(outputs["loss"]), left)


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """Name -> copy on the CPU of each parameter that is trained, for safetensors."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def load_trained_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put `trained_state` back. Raises ValueError where the names are not exactly those of the trained parameters."""
    own = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if own.keys() != state.keys():
        missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        raise ValueError(f"trained weights do not fit the model: missing {missing}, unexpected {unexpected}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def count_parameters(module: nn.Module) -> dict[str, int]:
    """{"trainable", "total"}."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return {"trainable": sum(size for size, trained in sizes if trained), "total": sum(size for size, _ in sizes)}


def peak_memory_mb() -> float:
    """The largest memory so far, in MiB: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

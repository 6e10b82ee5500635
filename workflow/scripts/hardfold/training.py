"""What training and prediction share: seeds, the device, a stop at NaN, the history, trained states.

Lightning, which takes seconds to import, is in hardfold.trainer: prediction and evaluation do without.
"""

import csv
import math
import random
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hardfold.tables import whole_file

CONFIG = "config.json"  # beside trained weights: experiment, seed, options, weights of the backbones


class NonFiniteLoss(RuntimeError):
    """A loss that is NaN or infinite; the message names the step and the samples."""


def seed_everything(seed: int, threads: int = 1) -> None:
    """Seed Python, NumPy and torch, and keep this process to `threads` torch threads."""
    torch.set_num_threads(threads)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what libraries draw from
    torch.manual_seed(seed)


def seed_batch(*place: int) -> None:
    """Seed torch for one batch by its place in the run: what it draws is the same after a resumption."""
    torch.manual_seed(np.random.SeedSequence(place).generate_state(1)[0])


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def require_finite(losses: Tensor, ids: Sequence[str], step: int) -> None:
    """Raise NonFiniteLoss, naming the samples, unless all `losses` (B,) of the samples `ids` are finite."""
    culprits = [f"{name} ({loss})" for name, loss in zip(ids, losses.tolist(), strict=True) if not math.isfinite(loss)]
    if culprits:
        raise NonFiniteLoss(f"the loss is not finite at step {step} for {', '.join(culprits)} of {', '.join(ids)}")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; the message names the file."""


class History:
    """A CSV file of one row an epoch or interval, rewritten whole at each `append`; unknown values are empty fields.

    path: None of a process that keeps its rows to itself, since another one writes the same.
    """

    def __init__(self, path: Path | None, columns: list[str]):
        self.path, self.columns, self.rows = path, columns, []

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Add a row. Raises ValueError for a column that the history does not have."""
        if unknown := set(row) - set(self.columns):
            raise ValueError(f"{self.path}: no column {', '.join(sorted(unknown))}")
        self.restore([*self.rows, {name: _text(row.get(name)) for name in self.columns}])

    def restore(self, rows: Sequence[Mapping[str, str]]) -> None:
        """Go on from the `rows` of a run that was cut short."""
        self.rows = list(rows)
        if self.path is None:
            return
        with whole_file(self.path) as temporary, open(temporary, "w", newline="") as handle:
            writer = csv.DictWriter(handle, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


def _text(value):
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def trained_state(module: nn.Module) -> dict[str, Tensor]:
    """Name -> copy on the CPU of each parameter that is trained, for safetensors."""
    return {
        name: parameter.detach().to("cpu", copy=True).contiguous()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def read_checkpoint(path: Path) -> dict:
    """What a safetensors file or a checkpoint of the Trainer holds, on the CPU: tensors and plain values, never code.
    Raises CheckpointError.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as fault:  # of a damaged file torch raises nearly anything
        raise CheckpointError(f"{path} is damaged, or holds more than tensors and plain values") from fault


def load_trained_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put `trained_state` back. Raises ValueError unless names and shapes are exactly those of what is trained."""
    own = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unexpected": sorted(state.keys() - own.keys()),
        "of another shape": sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape),
    }
    if any(faults.values()):
        found = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
        raise ValueError(f"trained weights do not fit the model ({found})")
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

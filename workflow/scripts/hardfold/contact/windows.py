"""Predictions of overlapping windows, stitched into whole maps."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import numpy as np
from torch import Tensor

_DIMS = {"contact": 2, "distance": 2, "angle": 1}  # dimensions that run along the residues


def cut(predicted: Mapping[str, Tensor], batch: Mapping) -> Iterator[tuple[str, int, dict[str, np.ndarray]]]:
    """A batch's predictions (ContactModel.predict) -> (chain, first residue, predictions without padding) of each."""
    arrays = {task: values.detach().cpu().numpy() for task, values in predicted.items()}
    for b, (chain, start) in enumerate(zip(batch["ids"], batch["starts"], strict=True)):
        size = int(batch["mask"][b].sum())
        yield chain, start, {task: values[b][(slice(size),) * _DIMS[task]] for task, values in arrays.items()}


def stitch(length: int, windows: Iterable[tuple[int, Mapping[str, np.ndarray]]]) -> tuple[dict[str, np.ndarray], int]:
    """One chain's windows (first residue, its predictions) -> (predictions of the whole chain, pairs no window sees).

    contact probability and distance (n, n) -> (L, L): the mean over the windows that see a pair. angle (n, 2) in
    radians -> (L, 2): the direction of the mean unit vector. What no window sees is NaN; pairs are counted as i < j.
    """
    totals, seen = {}, {}
    for start, predicted in windows:
        for task, values in predicted.items():
            values = np.stack([np.cos(values), np.sin(values)]) if task == "angle" else values[None]
            if task not in totals:
                totals[task] = np.zeros((len(values), *(length,) * _DIMS[task], *values.shape[1 + _DIMS[task] :]))
                seen[task] = np.zeros((length,) * _DIMS[task], int)
            where = (slice(start, start + values.shape[1]),) * _DIMS[task]
            totals[task][:, *where] += values
            seen[task][where] += 1
    whole = {}
    for task, total in totals.items():
        total[:, seen[task] == 0] = np.nan
        if task == "angle":
            whole[task] = np.arctan2(total[1], total[0]).astype(np.float32)
        else:
            whole[task] = (total[0] / np.maximum(1, seen[task])).astype(np.float32)
    return whole, int(np.count_nonzero(np.triu(seen["contact"] == 0, 1)))


def stitched(
    windows: Iterable[tuple[str, int, Mapping[str, np.ndarray]]], lengths: Mapping[str, int]
) -> Iterator[tuple[str, dict[str, np.ndarray], int]]:
    """(chain, first residue, predictions), a chain's windows one after the other -> (chain, *stitch) of each chain."""
    for chain, group in groupby(windows, key=lambda window: window[0]):
        yield chain, *stitch(lengths[chain], (window[1:] for window in group))

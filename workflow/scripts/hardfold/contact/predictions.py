"""predictions.h5 of an experiment or a baseline, of the chains of validation, test and target.

/<id>/contact_probability (L, L) float16, distance (L, L) float16 in angstrom, angles (L, 2) float32 in radians; NaN
where no window sees a pair or residue. Attributes: `split` of a chain; experiment, min_separation and, where distances
are predicted, max_distance (where they are capped) of the file.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from hardfold.contacts import MIN_SEPARATION, PredictionError
from hardfold.dataset import Dataset, Record
from hardfold.hdf5 import whole_hdf5
from hardfold.jobs import progress


def write_predictions(
    path: Path, experiment: str, predicted: Iterable[tuple[str, str, Mapping[str, np.ndarray]]], **attributes
) -> None:
    """Write the file from (split, chain, name -> array) of each chain."""
    with whole_hdf5(path) as file:
        file.attrs.update(experiment=experiment, min_separation=MIN_SEPARATION, **attributes)
        for split, chain, arrays in predicted:
            group = file.create_group(chain)
            group.attrs["split"] = split
            for name, values in arrays.items():
                group.create_dataset(name, data=values, compression="gzip", compression_opts=1, shuffle=True)


def with_truth(file: h5py.File, split: str, chains: Path) -> Iterator[tuple[Record, dict[str, np.ndarray]]]:
    """(chain as the data set `chains` holds it, its predictions) of each chain of a split, by id.

    Raises PredictionError unless the file has the data set's chains, each of its length.
    """
    data, predicted = Dataset(chains), {id for id in file if file[id].attrs["split"] == split}
    if odd := sorted(predicted ^ set(data.ids)):
        raise PredictionError(f"{file.filename}: {split}: {odd[0]} and {len(odd) - 1} more are not those of {chains}")
    for id in progress(data.ids, len(data), f"{split} chains"):
        record, arrays = data.read(id, rows=0), {name: array[()] for name, array in file[id].items()}
        if len(arrays["contact_probability"]) != len(record.sequence):
            raise PredictionError(f"{file.filename}: {id} is of another length than in {chains}")
        yield record, arrays

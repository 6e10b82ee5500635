"""What an HDF5 file of the workflow holds, in lines of text: a look at some of its chains, however many there are."""

import json
from pathlib import Path

import h5py

from hardfold.dataset import DatasetError, chain_group, evenly_chosen
from hardfold.hdf5 import open_hdf5


def inspect(path: Path, most: int = 200) -> str:
    """What a structure shard, a data set or predictions hold. Raises HDF5Error, DatasetError.

    All chains and the files they are linked to are counted; at most `most` chains, evenly chosen, are looked at.
    """
    with open_hdf5(path) as file:
        chains = file.get("chains", file)
        ids = sorted(chains)
        looked_at = evenly_chosen(ids, most)
        lines = [f"{path}: {len(ids)} chains", *_homes(path, chains, ids)]
        if len(looked_at) < len(ids):
            lines.append(f"  of {len(looked_at)} chains, evenly chosen:")
        lines += _contents(path, chains, looked_at)
        for name, value in sorted(file.attrs.items()):
            lines += _attribute(name, value)
        return "\n".join(lines)


def _homes(path, chains, ids):
    """The files that chains are linked to, as a line."""
    links = [chains.get(id, getlink=True) for id in ids]
    homes = sorted({link.filename for link in links if isinstance(link, h5py.ExternalLink)})
    if missing := [home for home in homes if not Path(path).parent.joinpath(home).exists()]:
        raise DatasetError(f"{path}: {len(missing)} of {len(homes)} files linked to are missing, {missing[0]} first")
    return [f"  linked to {len(homes)} files, {homes[0]} to {homes[-1]}"] if homes else []


def _contents(path, chains, ids):
    arrays, lengths, resolved = {}, [], 0
    for id in ids:
        group = chain_group(chains, id)
        if not isinstance(group, h5py.Group):
            raise DatasetError(f"{path}: not laid out by chains ({id} is an array)")
        for name, array in group.items():
            kind = str(array.dtype) if h5py.check_string_dtype(array.dtype) is None else "text"
            arrays.setdefault(name, []).append((array.shape, kind, array.id.get_storage_size()))
        if "mask" in group:
            lengths.append(len(group["mask"]))
            resolved += int(group["mask"][()].sum())
    if lengths:
        yield f"  residues: {sum(lengths)}, {resolved} resolved; {min(lengths)} to {max(lengths)} a chain"
    for name, found in sorted(arrays.items()):
        kinds, size = ", ".join(sorted({kind for _, kind, _ in found})), sum(size for *_, size in found) / 1e6
        shapes = f", {min(found)[0]} to {max(found)[0]}, {size:.2f} MB stored" if min(found)[0] else ""
        yield f"  {name}: {len(found)} of {kinds}{shapes}"


def _attribute(name, value):
    """A line, or one for each entry of a JSON object."""
    if isinstance(value, str) and value.startswith("{"):
        return [f"  {name}:", *(f"    {key}: {entry}" for key, entry in json.loads(value).items())]
    return [f"  {name}: {value}"]

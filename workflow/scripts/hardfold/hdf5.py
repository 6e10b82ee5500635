"""HDF5 files that appear whole, and that are refused in one line where they cannot be read."""

import io
from contextlib import contextmanager
from pathlib import Path

import h5py

from hardfold import tables

# Compact indices and headers, readable since HDF5 1.10 (2016): docs/benchmarks/dataset.md has what they save.
_LIBRARY_VERSION = ("v110", "v110")


class HDF5Error(ValueError):
    """An HDF5 file that cannot be read, with the reason in one line."""


@contextmanager
def whole_hdf5(path: Path):
    """Yield a new HDF5 file that appears under `path` when it is complete. Raises OSError where the disk refuses it."""
    with tables.whole_file(path) as temporary, _Disk(temporary, "w+") as disk:
        try:
            with h5py.File(disk, "w", libver=_LIBRARY_VERSION) as file:
                yield file
        finally:
            if disk.fault:
                raise OSError(disk.fault.errno, disk.fault.strerror, str(path))


class _Disk(io.FileIO):
    """Keeps the first failure to write and takes the rest for written: HDF5 2.0 crashes the process where it cannot
    write what it holds, on a full disk for one."""

    fault: OSError | None = None

    def write(self, data) -> int:
        data = memoryview(data)
        written = 0
        try:
            while not self.fault and written < len(data):
                written += super().write(data[written:])
        except OSError as fault:
            self.fault = fault
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as fault:
            self.fault = self.fault or fault
            return size


def open_hdf5(path: Path) -> h5py.File:
    """The file, open for reading. Raises HDF5Error where it is missing, truncated or no HDF5 file."""
    try:
        return h5py.File(path)
    except OSError as fault:
        reason = f"not a readable HDF5 file ({fault})" if Path(path).exists() else "no such file"
        raise HDF5Error(f"{path}: {reason}") from None

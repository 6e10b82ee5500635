import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from hardfold.hdf5 import HDF5Error, open_hdf5, whole_hdf5


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "folder/file.h5"
    with whole_hdf5(path) as file:
        file["values"] = np.arange(5)
        assert not path.exists()
    with open_hdf5(path) as file:
        assert file["values"][()].tolist() == [0, 1, 2, 3, 4]


def test_a_failed_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), whole_hdf5(tmp_path / "file.h5") as file:
        file["values"] = np.arange(5)
        file["absent"]
    assert list(tmp_path.iterdir()) == []


def test_files_repeat_bit_for_bit(tmp_path):
    for name in ("one", "two"):
        with whole_hdf5(tmp_path / name) as file:
            file.create_dataset("group/values", data=np.arange(1000), compression="gzip")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


FULL_DISK = """
import resource, signal, sys
import numpy as np
from hardfold.hdf5 import whole_hdf5
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with whole_hdf5(sys.argv[1]) as file:
        for number in range(40):
            values = np.random.default_rng(number).random((50, 50))
            file.create_dataset(f"{number}/values", data=values, chunks=values.shape, compression="gzip")
            file[f"{number}/text"] = "text" * number
except OSError as fault:
    print(fault)
"""


@pytest.mark.parametrize("room", [0, 1000, 100_000, 700_000])  # bytes; the file needs 0.8 MB
def test_a_disk_without_room_is_a_clear_error(tmp_path, room):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-c", FULL_DISK, tmp_path / "file.h5", str(room)]
    output = subprocess.run(run, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert output == f"[Errno 27] File too large: '{tmp_path}/file.h5'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"<html>404</html>"])
def test_what_is_no_hdf5_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "file.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HDF5Error, match=r"file\.h5: (no such file|not a readable HDF5 file)"):
        open_hdf5(path)


def test_every_truncated_file_is_refused(tmp_path):
    path = tmp_path / "file.h5"
    with whole_hdf5(path) as file:
        for number in range(20):
            file[f"{number}/values"] = np.arange(number)
    content = path.read_bytes()
    for size in range(0, len(content), 97):
        path.write_bytes(content[:size])
        with pytest.raises(HDF5Error, match="not a readable HDF5 file"):
            open_hdf5(path)


def test_the_format_is_the_compact_one(tmp_path):
    sizes = {}
    with whole_hdf5(tmp_path / "compact.h5") as compact, h5py.File(tmp_path / "default.h5", "w") as default:
        for file in (compact, default):
            for number in range(20):
                file.create_dataset(str(number), data=np.zeros((50, 50)), chunks=(50, 50), compression="gzip")
    sizes = [(tmp_path / f"{name}.h5").stat().st_size for name in ("compact", "default")]
    assert 3 * sizes[0] < sizes[1]

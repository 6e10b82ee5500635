"""The readers of registry packages, on small files in the packages' layouts."""

import io
import json
import shutil
import struct
import subprocess
import tarfile
import zipfile

import numpy as np
import pytest

from hardfold.pretraining.data import read_packages
from hardfold.registry import SIDECHAINNET_SEQUENCES, StructureDatabase, extract_debian, read_full_sequences
from hardfold.tools import ToolError


def text(value):
    return struct.pack("<I", len(value)) + value.encode()


@pytest.fixture
def database(tmp_path):
    """Two stretches of 2 and 3 residues, laid out as promod3 writes its structure database."""
    content = bytearray(struct.pack("<II", 1234, 2)).ljust(0x4D, b"\0") + struct.pack("<Q", 2)
    content += text("1ABC") + text("A") + struct.pack("<IHH3f", 0, 2, 10, 1.0, 2.0, 3.0)
    content += text("2xyz") + text("b") + struct.pack("<IHH3f", 2, 3, 65000, 0.0, 0.0, 0.0)
    arrays = [
        np.frombuffer(b"ACDEF", "S1"),
        np.arange(60, dtype="<u2").reshape(5, 4, 3) * 100,
        np.zeros((5, 2), "<i2"),
        np.zeros(5, "<u2"),
        np.zeros(5, "<u2"),
        np.frombuffer(b"HHEEC", "S1"),
        np.full((5, 20), 500, "<i2"),
        np.zeros((5, 20), "<i2"),
    ]
    for array in arrays:
        content += struct.pack("<II", 5, 0) + array.tobytes()
    path = tmp_path / "structure_db.dat"
    path.write_bytes(bytes(content))
    return path


def test_structure_database(database):
    records = StructureDatabase(database)
    assert len(records) == 2 and records.identity(1) == "2xyz_b" and records.length(1) == 3
    first, second = records[0], records[1]
    assert (first.id, first.sequence, first.first_number) == ("1abc_A", "AC", 10)
    assert second.sequence == "DEF" and second.first_number == 65000
    assert first.coordinates[0, 0].tolist() == [-1.0, -1.0, -1.0]  # 0, 1, 2 angstrom less the shift
    assert second.coordinates[0, 0].tolist() == [24.0, 25.0, 26.0]
    assert np.allclose(first.profile.sum(axis=1), 1)


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "structure_db.dat"
    path.write_bytes(b"\0" * 200)
    with pytest.raises(ValueError, match="not a promod3 structure database"):
        StructureDatabase(path)


def test_full_sequences_of_the_first_model_alone(tmp_path):
    annotations = {"1ABC_1_A": "AC", "1ABC_2_A": "GG", "d1abca_": "WW", "2XYZ_1_b": "DEF"}
    wheel = tmp_path / "sidechainnet.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            SIDECHAINNET_SEQUENCES, json.dumps({name: {"Sequence": value} for name, value in annotations.items()})
        )
    assert read_full_sequences(wheel) == {"1abc_A": "AC", "2xyz_b": "DEF"}


def tar(*members):
    """An archive of (name, content), or (name, target) of a symbolic link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(member)
    return file.getvalue()


def debian_package(path, data):
    content = b"!<arch>\n"
    for name, part in (("debian-binary", b"2.0\n"), ("control.tar", tar(("./control", b""))), ("data.tar", data)):
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode() + part + b"\n" * (len(part) % 2)
        )
    path.write_bytes(content)
    return path


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not installed")
def test_a_link_in_a_package_leads_nowhere(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    good = debian_package(tmp_path / "good.deb", tar(("./usr/data/file", b"content")))
    assert (extract_debian(good, "usr/data", tmp_path / "good") / "file").read_bytes() == b"content"
    for name, target in (("absolute", outside), ("relative", "../../outside")):
        bad = debian_package(tmp_path / f"{name}.deb", tar(("./usr/data", target), ("./usr/data/file", b"content")))
        with pytest.raises(subprocess.CalledProcessError):
            extract_debian(bad, "usr/data", tmp_path / name)
    assert not list(outside.iterdir())


def test_programs_are_asked_for_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="dpkg-deb, blastdbcmd"):
        read_packages(tmp_path / "packages")
    assert not (tmp_path / "packages").exists()

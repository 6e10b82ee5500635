"""Real structures and sequences out of Debian and PyPI packages, read without installing them.

Sources: promod3-data (gapless stretches of PDB chains with N, CA, C and O), metastudent-data (GO-annotated
Swiss-Prot of January 2014 as BLAST databases) and sidechainnet (full sequences of PDB chains).
"""

import json
import shutil
import struct
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hardfold.tools import ToolError

PROMOD3_DATABASE = "usr/share/promod3/loop_data/structure_db.dat"
SWISSPROT_FOLDER = "usr/share/metastudent-data/dataset_201401"
SIDECHAINNET_SEQUENCES = "sidechainnet/resources/full_protein_dssp_annotations.json"


@dataclass(frozen=True)
class Stretch:
    """A gapless piece of a PDB chain as promod3-data stores it."""

    entry: str  # PDB id, lower case
    chain: str  # author chain id
    first_number: int  # residue number of the first residue
    sequence: str
    coordinates: np.ndarray  # (L, 4, 3) float32 angstrom: N, CA, C, O in the deposited frame
    profile: np.ndarray  # (L, 20) float32 residue frequencies, in the alphabetical order of one-letter codes

    @property
    def id(self) -> str:
        return f"{self.entry}_{self.chain}"


def require_programs() -> None:
    """Raise ToolError unless the programs that read the packages are there: before 650 MB are fetched."""
    if missing := [name for name in ("dpkg-deb", "blastdbcmd") if not shutil.which(name)]:
        raise ToolError(f"not installed: {', '.join(missing)} (apt-get install dpkg ncbi-blast+)")


def extract_debian(package: Path, member: str, folder: Path) -> Path:
    """Unpack one file or folder of a .deb below `folder`; returns its path there."""
    folder.mkdir(parents=True, exist_ok=True)
    unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(folder), f"./{member}"], stdin=unpack.stdout, check=True)
    unpack.stdout.close()
    # tar may stop reading before the archive's end, which dpkg-deb reports as a broken pipe.
    unpack.wait()
    return folder / member


class StructureDatabase:
    """promod3-data's structure database by memory map; indexing yields `Stretch` records.

    Layout (little endian): magic 1234, version 2; the record count at 0x4d; one variable-length record a stretch
    (id, chain, offset, size, first number, shift); then parallel arrays over all residues.
    """

    def __init__(self, path: Path):
        raw = np.memmap(path, dtype=np.uint8, mode="r")
        magic, version = struct.unpack_from("<II", raw, 0)
        if (magic, version) != (1234, 2):
            raise ValueError(f"{path}: not a promod3 structure database of version 2 (found {magic}, {version})")
        (count,) = struct.unpack_from("<Q", raw, 0x4D)
        position, self.records = 0x55, []
        for _ in range(count):
            names = []
            for _ in range(2):
                (size,) = struct.unpack_from("<I", raw, position)
                names.append(bytes(raw[position + 4 : position + 4 + size]).decode("ascii"))
                position += 4 + size
            offset, size, first, *shift = struct.unpack_from("<IHH3f", raw, position)
            position += 20
            self.records.append((names[0].lower(), names[1], offset, size, first, np.float32(shift)))
        self._arrays = {}
        fields = [
            ("sequence", "S1", ()),
            ("coordinates", "<u2", (4, 3)),
            ("dihedrals", "<i2", (2,)),
            ("accessibility", "<u2", ()),
            ("depth", "<u2", ()),
            ("dssp", "S1", ()),
            ("profile", "<i2", (20,)),
            ("structure_profile", "<i2", (20,)),
        ]
        for name, kind, shape in fields:
            length, _ = struct.unpack_from("<II", raw, position)
            position += 8
            size = length * int(np.prod(shape, dtype=int)) * np.dtype(kind).itemsize
            self._arrays[name] = raw[position : position + size].view(kind).reshape(length, *shape)
            position += size

    def __len__(self) -> int:
        return len(self.records)

    def identity(self, index: int) -> str:
        """Chain id `1abc_A` of a stretch, without reading it."""
        return "_".join(self.records[index][:2])

    def length(self, index: int) -> int:
        return self.records[index][3]

    def __getitem__(self, index: int) -> Stretch:
        entry, chain, offset, size, first, shift = self.records[index]
        rows = slice(offset, offset + size)
        return Stretch(
            entry=entry,
            chain=chain,
            first_number=first,
            sequence=self._arrays["sequence"][rows].tobytes().decode("ascii"),
            coordinates=self._arrays["coordinates"][rows].astype(np.float32) * np.float32(0.01) - shift,
            profile=self._arrays["profile"][rows].astype(np.float32) / 10000,
        )


def read_swissprot(folder: Path) -> dict[str, str]:
    """Accession -> sequence over metastudent-data's three BLAST databases (needs `blastdbcmd` of ncbi-blast+)."""
    sequences = {}
    for ontology in ("BPO", "MFO", "CCO"):
        command = ["blastdbcmd", "-db", str(folder / ontology / "goasp.fasta"), "-entry", "all", "-outfmt", "%t %s"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        for line in lines:
            title, sequence = line.rsplit(" ", 1)
            sequences[title.split("|")[0]] = sequence
    return sequences


def read_full_sequences(wheel: Path) -> dict[str, str]:
    """Chain id `1abc_A` -> full sequence of the first model, from sidechainnet's wheel."""
    with zipfile.ZipFile(wheel) as archive, archive.open(SIDECHAINNET_SEQUENCES) as handle:
        annotations = json.load(handle)
    sequences = {}
    for name, record in annotations.items():
        parts = name.split("_")
        if len(parts) == 3 and parts[1] == "1":
            sequences[f"{parts[0].lower()}_{parts[2]}"] = record["Sequence"]
    return sequences


def download_packages(folder: Path) -> dict[str, Path]:
    """Fetch the three packages with apt-get and pip into `folder`, once; returns name -> file."""
    folder.mkdir(parents=True, exist_ok=True)
    commands = {
        "promod3-data": ["apt-get", "download", "promod3-data=3.2.1+ds-6"],
        "metastudent-data": ["apt-get", "download", "metastudent-data=2.0.1-8"],
        "sidechainnet": ["pip", "download", "--no-deps", "sidechainnet==1.0.1"],
    }
    files = {}
    for name, command in commands.items():
        if not any(folder.glob(f"{name}[-_]*")):
            subprocess.run(command, cwd=folder, check=True)
        files[name] = next(folder.glob(f"{name}[-_]*"))
    return files

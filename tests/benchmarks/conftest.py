import tarfile

import pytest
from measure import ROOT


@pytest.fixture(scope="session")
def pdb_files(tmp_path_factory):
    """2,333 full-atom crystal chains, a PDB file each, unpacked once for all benchmarks."""
    folder = tmp_path_factory.mktemp("chains")
    with tarfile.open(ROOT.parent / "shared/data/train/pdownb.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return sorted(folder.rglob("*.pdb"))

import tarfile

import pytest
from measure import ROOT


@pytest.fixture(scope="session")
def pdb_files(tmp_path_factory):
    """2,333 full-atom crystal chains, a PDB file each, unpacked once for all benchmarks."""
    folder, packed = tmp_path_factory.mktemp("chains"), ROOT.parent / "shared/data/train/pdownb.tar.xz"
    if not packed.is_file():
        pytest.skip("the crystal chains are not part of the repository")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return sorted(folder.rglob("*.pdb"))

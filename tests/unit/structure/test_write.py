import gemmi
import numpy as np

from hardfold.structure.parse import read_model
from hardfold.structure.write import write_mmcif


def test_written_mmcif_reads_back_numbered_by_position(tmp_path, example):
    path = tmp_path / "model.cif"
    write_mmcif(example, path, plddt=np.array([10.0, 20.126, 30.0, 40.0]))
    model = read_model(path)
    assert model.sequence == "GASK" and model.mask.tolist() == [True, True, False, True]
    assert model.auth_numbers == ("1", "2", "", "4")
    assert model.virtual_cb.tolist() == example.virtual_cb.tolist() == [False, True, False, False]
    assert np.nanmax(np.abs(model.coordinates - example.coordinates)) < 2e-3
    row = next(
        line.split() for line in path.read_text().splitlines() if line.startswith("ATOM") and " CA . ALA" in line
    )
    assert "20.13" in row
    assert not any(" CB . ALA" in line for line in path.read_text().splitlines())


def test_written_native_claims_no_b_factors(tmp_path, example):
    write_mmcif(example, tmp_path / "a.cif")
    block = gemmi.cif.read(str(tmp_path / "a.cif")).sole_block()
    assert set(block.find_values("_atom_site.B_iso_or_equiv")) == {"?"}
    assert list(block.find_values("_atom_site.label_seq_id")) == list(block.find_values("_atom_site.auth_seq_id"))

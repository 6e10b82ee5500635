import numpy as np
import pytest

from hardfold import residues, scoring, tables
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif


@pytest.fixture
def traces():
    """A native of 40 CA in a helix, and a model of it elsewhere in space whose last 8 residues went astray."""
    steps = np.arange(40)
    native = np.stack([2.3 * np.cos(1.75 * steps), 2.3 * np.sin(1.75 * steps), 1.5 * steps], axis=1)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    model = native @ turn.T + [5, -3, 20]
    model[32:] += np.linspace(3, 30, 8)[:, None] * [1, 0, 0]
    return model, native


def test_errors_are_those_of_the_best_tm_score(traces):
    model, native = traces
    error = residues.residue_scores(model, native)["error"]
    assert error[:30].max() < 1 < 2 < error[33:].min()
    d0 = 1.24 * np.cbrt(40 - 15) - 1.8
    assert np.mean(1 / (1 + (error / d0) ** 2)) == pytest.approx(scoring.tm_score(model, native), abs=1e-3)


def test_residue_lddt_averages_to_the_chains(traces):
    model, native = traces
    model[3] = np.nan  # not predicted: keeps nothing
    values = scoring.residue_lddt(model, native)
    assert values[14:20] == pytest.approx(1) and values[3] == 0 and values[36:].max() < 0.5
    near = (np.linalg.norm(native[:, None] - native, axis=2) < scoring.LDDT_RADIUS).sum(1) - 1
    assert np.average(values, weights=near) == pytest.approx(scoring.lddt_ca(model, native))
    assert np.isnan(scoring.residue_lddt(model[:1], native[:1]))


def test_a_table_has_a_row_for_each_resolved_residue_of_each_prediction(traces, tmp_path):
    model, native = traces
    native[5] = np.nan

    def write(trace, path, plddt=None):
        atoms = np.repeat(trace[:, None], 5, axis=1) + np.eye(5, 3)
        write_mmcif(Chain.from_atoms("T1", "A" * 40, atoms), path, plddt)

    write(native, tmp_path / "targets/T1.cif")
    write(model, tmp_path / "T1.cif", np.linspace(90, 50, 40))
    columns = ["target", "file", "plddt"]
    for plddt in ("70", ""):
        rows = [("T1", "T1.cif", plddt), ("T2", "", "")]  # T2: none was made
        tables.write(tmp_path / "p.tsv", [dict(zip(columns, row, strict=True)) for row in rows], columns)
        residues.score_residues(
            predictions=tmp_path / "p.tsv", natives=tmp_path / "targets", output=tmp_path / "residues.tsv"
        )
        table = tables.read(tmp_path / "residues.tsv", residues.COLUMNS)
        assert set(table["target"]) == {"T1"}
        assert table["position"].astype(int).to_list() == [*range(1, 6), *range(7, 41)]
        assert table["plddt"].to_list()[:2] == (["90", "88.97"] if plddt else ["", ""])
    assert float(table["lddt"].iloc[10]) == pytest.approx(1)
    assert float(table["error"].iloc[-1]) > 5

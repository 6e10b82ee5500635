import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tmtools import tm_align

from hardfold import scoring, tables
from hardfold.__main__ import main
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif

SEQUENCE = "ACDEFGHIKLMNPQRSTVWY"


def trace(length, seed=0):
    return scoring.random_walks(length, 1, np.random.default_rng(seed))[0]


def chain(points, sequence=None, id="model"):
    coordinates = np.full((len(points), 5, 3), np.nan)
    coordinates[:, :3] = points[:, None] + np.array([[-1.4, 0, 0], [0, 0, 0], [1.5, 0, 0]])
    return Chain.from_atoms(id, sequence or (SEQUENCE * len(points))[: len(points)], coordinates)


def test_a_copy_in_another_pose_scores_one():
    native = trace(40)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    scores = scoring.score(native @ turn.T + 5, native)
    assert scores == pytest.approx(
        {"tm": 1, "gdt_ts": 1, "lddt": 1, "rmsd": 0, "residues": 40, "matched": 40}, abs=1e-6
    )


def test_missing_residues_of_the_model_earn_nothing():
    native = trace(40)
    model = native.copy()
    model[20:] = np.nan
    scores = scoring.score(model, native)
    assert (scores["residues"], scores["matched"]) == (40, 20)
    assert scores["tm"] == pytest.approx(0.5, abs=1e-6)
    assert scores["gdt_ts"] == pytest.approx(0.5)
    assert scores["lddt"] < 0.5  # distances between the halves are lost too


def test_unresolved_residues_of_the_native_do_not_count():
    native = trace(40)
    native[20:] = np.nan
    assert scoring.score(trace(40), native)["residues"] == 20
    assert scoring.score(trace(40), native)["tm"] == pytest.approx(1, abs=1e-6)


def test_too_few_pairs_score_zero():
    native = trace(10)
    model = np.full_like(native, np.nan)
    model[:2] = native[:2]
    assert scoring.score(model, native) | {"lddt": 0} == {
        "tm": 0.0,
        "gdt_ts": 0.0,
        "lddt": 0,
        "rmsd": None,
        "residues": 10,
        "matched": 2,
    }


def test_lddt_counts_distances_by_hand():
    native = np.array([[0.0, 0, 0], [4, 0, 0], [8, 0, 0], [100, 0, 0]])
    model = np.array([[0.0, 0, 0], [4, 0, 0], [9, 0, 0], [0, 50, 0]])
    # Three distances below 15: errors 0, 1, 1. Kept within 0.5: 1/3, 1: 1/3, 2: all, 4: all.
    assert scoring.lddt_ca(model, native) == pytest.approx((1 / 3 + 1 / 3 + 1 + 1) / 4)


def test_gdt_gives_each_cutoff_its_own_superposition():
    native = trace(60)
    model = native.copy()
    model[30:, 0] += 6.0
    # A half fits exactly (1 and 2 angstrom), or both halves are 3 angstrom off (4 and 8).
    assert scoring.gdt_ts(model, native) == pytest.approx((0.5 + 0.5 + 1 + 1) / 4, abs=0.1)
    model[30:, 0] += 1000.0
    assert scoring.gdt_ts(model, native) == pytest.approx(0.5, abs=0.02)


def test_tm_score_keeps_the_correspondence():
    native = trace(60)
    shifted = np.roll(native, 5, axis=0)
    letters = "A" * 60
    assert scoring.tm_score(shifted, native) < 0.5 < 0.8 < tm_align(shifted, native, letters, letters).tm_norm_chain2


@pytest.mark.skipif(shutil.which("TMscore") is None, reason="the TMscore program (Debian: tm-align) is not installed")
@pytest.mark.parametrize(("length", "noise", "lost"), [(12, 1, 0), (50, 2, 0), (90, 6, 7), (150, 12, 20)])
def test_scores_are_those_of_the_tmscore_program(tmp_path, length, noise, lost):
    generator = np.random.default_rng(length)
    native = trace(length).round(3)
    model = (native + generator.normal(size=native.shape) * noise).round(3)
    model[generator.permutation(length)[:lost]] = np.nan
    for name, points in (("model.pdb", model), ("native.pdb", native)):
        lines = [
            f"ATOM  {i + 1:5d}  CA  ALA A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
            for i, (x, y, z) in enumerate(points)
            if np.isfinite(x)
        ]
        (tmp_path / name).write_text("".join(lines))
    report = subprocess.run(
        ["TMscore", tmp_path / "model.pdb", tmp_path / "native.pdb"], capture_output=True, text=True, check=True
    ).stdout
    tm, gdt = (float(re.search(rf"{name}\s*=\s*([\d.]+)", report)[1]) for name in ("TM-score", "GDT-TS-score"))
    assert scoring.tm_score(model, native) == pytest.approx(tm, abs=1e-3)
    assert scoring.gdt_ts(model, native) == pytest.approx(gdt, abs=5e-3)


CASP = Path(__file__).parents[3] / "shared/data/casp"


@pytest.mark.skipif(not CASP.is_dir(), reason="the shared CASP natives and models are not beside the repository")
@pytest.mark.parametrize(("target", "tm", "gdt"), [("T1024", 0.6700, 0.5995), ("T1030", 0.7337, 0.6319)])
def test_published_models_score_as_published(capsys, target, tm, gdt):
    files = [f"models_af2_casp14/{target}TS427_1.pdb", f"natives_scored_by_peers_casp14/{target}.pdb"]
    assert main(["score", *(str(Path(CASP, file)) for file in files), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["tm"] == pytest.approx(tm, abs=1e-3)
    assert scores["gdt_ts"] == pytest.approx(gdt, abs=5e-3)


def test_another_numbering_is_refused():
    points = trace(40)
    shifted = chain(points, (SEQUENCE * 3)[7:47])
    with pytest.raises(scoring.ScoreError, match="numbering does not correspond"):
        scoring.paired_ca(shifted, chain(points))
    unknown = chain(points, "X" * 40)
    assert len(scoring.paired_ca(unknown, chain(points))[0]) == 40


def test_random_walks_are_compact_chains_that_the_seed_decides():
    walks = scoring.random_walks(100, 20, np.random.default_rng(1))
    assert np.linalg.norm(np.diff(walks, axis=1), axis=2) == pytest.approx(3.8)
    centred = walks - walks.mean(axis=1, keepdims=True)
    gyration = np.sqrt((centred**2).sum(axis=2).mean(axis=1)).mean()
    assert gyration == pytest.approx(2.2 * 100**0.38, rel=0.15)
    assert (walks == scoring.random_walks(100, 20, np.random.default_rng(1))).all()
    assert scoring.tm_score(walks[0], walks[1]) < 0.35


@pytest.fixture
def run(tmp_path):
    """A target of 30 residues in two units, its prediction, and the tables that stand beside."""
    native = trace(30)
    model = native.copy()
    model[15:] += np.random.default_rng(0).normal(size=(15, 3)) * 20
    natives, predictions = tmp_path / "targets", tmp_path / "predictions.tsv"
    write_mmcif(chain(native, id="T1"), natives / "T1.cif")
    write_mmcif(chain(model, id="T1"), tmp_path / "T1.cif", np.repeat([90.0, 40.0], 15))
    tables.write(predictions, [{"target": "T1", "file": "T1.cif"}], ["target", "file"])
    units = [("chain", 1, 30), ("D1", 1, 15), ("D2", 16, 20), ("D2", 26, 30)]
    rows = [{"target": "T1", "unit": unit, "start": start, "end": end} for unit, start, end in units]
    tables.write(natives / "units.tsv", rows, ["target", "unit", "start", "end"])
    columns = ["target", "unit", "class", "in_baseline_training_period"]
    classes = [("T1", "chain", "MultiDom", "yes"), ("T1", "D1", "", "yes"), ("T1", "D2", "FM", "yes")]
    tables.write(natives / "targets.tsv", [dict(zip(columns, row, strict=True)) for row in classes], columns)
    tables.write(tmp_path / "summary.tsv", [{"chain": "T1", "neff": 3.5}], ["chain", "neff"])
    tables.write(tmp_path / "audit.tsv", [{"chain": "T1", "identity_kept": None}], ["chain", "identity_kept"])
    facts = {"alignments": tmp_path / "summary.tsv", "audit": tmp_path / "audit.tsv"}
    return predictions, {"natives": natives, **facts}


def test_each_target_and_unit_has_a_row(run, tmp_path):
    predictions, places = run
    scoring.score_predictions(predictions=predictions, arm="disjoint", seed=2, output=tmp_path / "scores.tsv", **places)
    table = tables.read(tmp_path / "scores.tsv", scoring.COLUMNS).set_index("unit")
    assert list(table.index) == ["D1", "D2", "chain"]
    assert list(table["residues"]) == ["15", "10", "30"]
    assert float(table.loc["D1", "tm"]) == pytest.approx(1, abs=1e-3)
    assert float(table.loc["D2", "tm"]) < 0.5
    assert list(table["plddt"]) == ["90", "40", "65"]
    row = table.loc["chain"]
    assert (row["arm"], row["seed"], row["neff"]) == ("disjoint", "2", "3.5")
    assert row["nearest_training_identity"] == ""
    assert list(table["class"]) == ["", "FM", "MultiDom"]
    assert list(table["in_baseline_training_period"]) == ["yes"] * 3


def test_a_target_without_a_prediction_is_an_error(run, tmp_path):
    predictions, places = run
    tables.write(predictions, [], ["target", "file"])
    with pytest.raises(scoring.ScoreError, match="no prediction of T1"):
        scoring.score_predictions(
            predictions=predictions, arm="disjoint", seed=2, output=tmp_path / "scores.tsv", **places
        )


def test_the_floor_is_the_same_each_time(run, tmp_path):
    for name in ("a.tsv", "b.tsv"):
        scoring.score_controls(walks=5, seed=1, output=tmp_path / name, **run[1])
    table = tables.read(tmp_path / "a.tsv", scoring.COLUMNS).set_index("unit")
    assert 0.05 < float(table.loc["chain", "tm"]) < 0.3
    assert set(table["arm"]) == {"random_walk"}
    assert (tmp_path / "a.tsv").read_bytes() == (tmp_path / "b.tsv").read_bytes()


def test_the_command_scores_units_of_the_native(run, capsys):
    predictions, places = run
    files = [str(predictions.parent / "T1.cif"), str(places["natives"] / "T1.cif")]
    units = places["natives"] / "units.tsv"
    assert main(["score", *files, "--units", str(units), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"tm", "gdt_ts", "lddt", "rmsd", "residues", "matched"} <= set(scores)
    assert scores["units"]["D2"]["residues"] == 10
    units.write_text("target\tunit\tstart\tend\nT2\tD1\t1\t5\n")
    assert main(["score", *files, "--units", str(units)]) == 1
    assert "no units of T1" in capsys.readouterr().err


@pytest.mark.parametrize("row", ["D1\tx\t5", "D1\t5\t1", "D1\t0\t5"])
def test_a_unit_that_is_no_range_is_refused(tmp_path, row):
    (tmp_path / "units.tsv").write_text(f"unit\tstart\tend\n{row}\n")
    with pytest.raises(tables.TableError, match="not a range"):
        scoring.read_units(tmp_path / "units.tsv")


def test_scoring_needs_no_torch():
    check = "import sys, hardfold.scoring, hardfold.statistics; sys.exit('torch' in sys.modules)"
    scripts = Path(scoring.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", check], cwd=scripts, check=False).returncode == 0

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gemmi
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tmtools import tm_align

from hardfold import scoring, tables
from hardfold.__main__ import main
from hardfold.structure.chain import Chain
from hardfold.structure.parse import read_model
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


needs_tmscore = pytest.mark.skipif(
    shutil.which("TMscore") is None, reason="the TMscore program (Debian: tm-align) is not installed"
)
CASP = Path(__file__).parents[3] / "shared/data/casp"
needs_casp = pytest.mark.skipif(
    not CASP.is_dir(), reason="the shared CASP natives and models are not beside the repository"
)


def tmscore_program(folder, model, native):
    """TM-score and GDT_TS by the TMscore program of CA traces (L, 3), NaN where absent."""
    for name, points in (("model.pdb", model), ("native.pdb", native)):
        lines = [
            f"ATOM  {(i + 1) % 100000:5d}  CA  ALA A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
            for i, (x, y, z) in enumerate(points)
            if np.isfinite(x)
        ]
        (folder / name).write_text("".join(lines))
    command = ["TMscore", folder / "model.pdb", folder / "native.pdb"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(float(re.search(rf"{name}\s*=\s*([\d.]+)", report)[1]) for name in ("TM-score", "GDT-TS-score"))


@needs_tmscore
@pytest.mark.parametrize(("length", "noise", "lost"), [(12, 1, 0), (50, 2, 0), (90, 6, 7), (150, 12, 20)])
def test_scores_are_those_of_the_tmscore_program(tmp_path, length, noise, lost):
    generator = np.random.default_rng(length)
    native = trace(length).round(3)
    model = (native + generator.normal(size=native.shape) * noise).round(3)
    model[generator.permutation(length)[:lost]] = np.nan
    tm, gdt = tmscore_program(tmp_path, model, native)
    assert scoring.tm_score(model, native) == pytest.approx(tm, abs=1e-3)
    assert scoring.gdt_ts(model, native) == pytest.approx(gdt, abs=5e-3)


def bent(native, generator, strength):
    """A wrong model of a native: errors alike along the chain, one end turned about a hinge, residues lost."""
    resolved = np.flatnonzero(np.isfinite(native[:, 0]))
    steps = generator.normal(size=native.shape)
    model = native + strength * np.cumsum(steps - steps.mean(axis=0), axis=0) / np.sqrt(len(native)) * 3
    hinge = resolved[len(resolved) // 4 + int(generator.integers(len(resolved) // 2))]
    turn = Rotation.from_rotvec(generator.normal(size=3) * strength / 2)
    model[hinge:] = turn.apply(model[hinge:] - native[hinge]) + native[hinge]
    lost = int(generator.integers(len(native) // 5))
    start = int(generator.integers(len(native) - lost))
    model[start : start + lost] = np.nan
    return model.round(3)


def real_pairs(longest=250):
    """(name, model, native) of CASP targets: three bent copies of each native, the same target's other native, and
    AlphaFold2's models. Natives of up to `longest` residues keep the time short."""
    natives = {path: read_model(path).coordinates[:, 1] for path in sorted(CASP.glob("natives_casp1[34]/*.pdb"))}
    for number, (path, native) in enumerate(natives.items()):
        if np.isfinite(native[:, 0]).sum() > longest:
            continue
        points = native.astype(float)
        for strength in (0.4, 1.2, 4.0):
            yield path.stem, bent(points, np.random.default_rng(number), strength), points
    for folder, others in (("natives_scored_by_peers_casp14", "natives_casp14"), ("models_af2_casp14", None)):
        for path in sorted(CASP.glob(f"{folder}/*.pdb")):
            target = re.match(r"T\d+(s\d)?", path.stem)[0]
            native = CASP / (others or "natives_scored_by_peers_casp14") / f"{target}.pdb"
            if native.is_file():
                yield path.stem, *scoring.paired_ca(read_model(path), read_model(native))


@needs_tmscore
@needs_casp
def test_a_hundred_pairs_of_real_natives_score_as_the_tmscore_program_says(tmp_path):
    differences = {}
    for number, (name, model, native) in enumerate(real_pairs()):
        ours, (tm, gdt) = scoring.score(model, native), tmscore_program(tmp_path, model, native)
        differences[number, name] = (abs(ours["tm"] - tm), abs(ours["gdt_ts"] - gdt), tm)
    assert len(differences) >= 100
    tm, gdt, levels = np.array(list(differences.values())).T
    assert levels.min() < 0.5 and levels.max() > 0.9, (levels.min(), levels.max())  # wrong folds and right ones
    assert tm.max() <= 1e-3, list(differences)[tm.argmax()]
    assert gdt.max() <= 1e-3, list(differences)[gdt.argmax()]


@needs_casp
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


def pdb_of(path, copies, first=1):
    """A PDB file of CA, N and C of chains A, B, ... (each (L, 3) CA points), numbered from `first`."""
    lines = []
    for name, points in zip("ABCD", copies, strict=False):
        full = chain(points)
        for index in range(len(points)):
            residue = gemmi.expand_one_letter(full.sequence[index], gemmi.ResidueKind.AA)
            for slot, atom in enumerate(("N", "CA", "C")):
                x, y, z = full.coordinates[index, slot]
                lines.append(
                    f"ATOM  {len(lines) + 1:5d}  {atom:<3} {residue} {name}{index + first:4d}    "
                    f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           {atom[0]}\n"
                )
        lines.append("TER\n")
    path.write_text("".join(lines) + "END\n")
    return path


def test_of_a_homo_oligomer_the_first_copy_counts(tmp_path):
    native, other = trace(40), trace(40, seed=9) + 60
    model = native + np.random.default_rng(1).normal(size=native.shape)
    alone = scoring.score_files(pdb_of(tmp_path / "m.pdb", [model]), pdb_of(tmp_path / "n.pdb", [native]))
    assert alone["residues"] == 40 and alone["tm"] > 0.6
    dimer = pdb_of(tmp_path / "dimer.pdb", [native, other])
    assert scoring.score_files(tmp_path / "m.pdb", dimer) == alone
    # Residues of the second copy never stand in for those of the first.
    predicted = pdb_of(tmp_path / "predicted.pdb", [model[:30], native])
    assert scoring.score_files(predicted, dimer)["matched"] == 30
    if shutil.which("TMscore"):
        report = subprocess.run(
            ["TMscore", tmp_path / "m.pdb", dimer], capture_output=True, text=True, check=True
        ).stdout
        assert float(re.search(r"TM-score\s*=\s*([\d.]+)", report)[1]) == pytest.approx(alone["tm"], abs=1e-3)


def test_a_native_in_the_authors_numbers_is_refused_unless_they_are_positions(tmp_path):
    native = trace(60)
    model = pdb_of(tmp_path / "model.pdb", [native])
    with pytest.raises(scoring.ScoreError, match="0 residue numbers in common"):
        scoring.score_files(model, pdb_of(tmp_path / "native.pdb", [native], first=126))
    with pytest.raises(scoring.ScoreError, match="numbering does not correspond"):
        scoring.score_files(model, pdb_of(tmp_path / "shifted.pdb", [native], first=3))
    # A native that begins later in the same numbering is a partly resolved one.
    later = scoring.score_files(model, pdb_of(tmp_path / "later.pdb", [native[20:]], first=21))
    assert (later["residues"], later["matched"]) == (40, 40)


@needs_tmscore
def test_partly_resolved_natives_and_missing_predictions_score_as_the_program_says(tmp_path):
    native, generator = trace(120).round(3), np.random.default_rng(2)
    model = (native + generator.normal(size=native.shape) * 2).round(3)
    native[30:50] = np.nan
    model[40:60] = np.nan  # 10 of them are resolved
    scores = scoring.score(model, native)
    assert (scores["residues"], scores["matched"]) == (100, 90)
    tm, gdt = tmscore_program(tmp_path, model, native)
    assert scores["tm"] == pytest.approx(tm, abs=1e-3)
    assert scores["gdt_ts"] == pytest.approx(gdt, abs=5e-3)


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
    tables.write(predictions, [{"target": "T1", "file": "T1.cif", "plddt": 65}], ["target", "file", "plddt"])
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
    tables.write(predictions, [], ["target", "file", "plddt"])
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

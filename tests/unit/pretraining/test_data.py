"""What may be learnt: nothing near a hold-out or a set that the user names, and tables that say what was left out."""

import random
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hardfold.pretraining import data
from hardfold.pretraining.packing import load_sequences, load_stretches
from hardfold.structure.chain import Chain, StructureError
from hardfold.structure.write import write_mmcif

pytestmark = pytest.mark.skipif(not shutil.which("mmseqs"), reason="no mmseqs on the PATH")
LIMITS = {
    "validation_sequences": 1, "validation_chains": 1, "cluster_identity": 0.5, "max_evalue": 1e-3,
    "min_identity": 0.3, "profile_iterations": 2, "seed": 1, "threads": 1,
}  # fmt: skip


def protein(seed, length=90):
    return "".join(random.Random(seed).choices("ACDEFGHIKLMNPQRSTVWY", k=length))


def mutated(sequence, share, seed):
    draw = random.Random(seed)
    return "".join(draw.choice("ACDEFGHIKLMNPQRSTVWY") if draw.random() < share else letter for letter in sequence)


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    """Strangers, a half-mutated relative of a hold-out among the sequences, one of a target among the chains."""
    folder, holdout, target = tmp_path_factory.mktemp("selected"), protein(1), protein(2)
    swissprot = {f"P{seed}": protein(seed) for seed in range(10, 16)} | {"PNEAR": mutated(holdout, 0.5, 3)}
    chains = {f"{seed}abc_A": protein(seed) for seed in range(3, 6)} | {"9xyz_B": mutated(target, 0.4, 4)}
    stretches = {
        name: SimpleNamespace(
            sequence=sequence, coordinates=np.zeros((len(sequence), 4, 3)), profile=np.zeros((len(sequence), 20))
        )
        for name, sequence in chains.items()
    }
    held = {data.HOLDOUTS: {"1abc_A": holdout}, "CASP13/14": {"T1024 my native": target}, "CAMEO": {}}
    data.select_data(swissprot, stretches, held, folder / "data", folder / "audit.tsv", folder / "sets.tsv", **LIMITS)
    return folder, swissprot


def test_relatives_of_every_set_are_left_out_and_strangers_stay(selected):
    folder, swissprot = selected
    learnt = {group: load_sequences(folder / "data", group)[0] for group in ("train", "validation")}
    assert swissprot["PNEAR"] not in learnt["train"] + learnt["validation"]
    assert len(learnt["train"]) + len(learnt["validation"]) == 6 and len(learnt["validation"]) <= 1
    kept = {**load_stretches(folder / "data", "train"), **load_stretches(folder / "data", "validation")}
    assert sorted(kept) == ["3abc_A", "4abc_A", "5abc_A"]


def test_tables_say_what_was_left_out_for_what_and_which_set_was_not_given(selected):
    folder, *_ = selected
    audit = pd.read_csv(folder / "audit.tsv", sep="\t", keep_default_na=False)
    found = audit.set_index("record")
    assert found.loc["sequence:PNEAR", ["set", "near"]].tolist() == [data.HOLDOUTS, "1abc_A"]
    assert found.loc["chain:9xyz_B", ["set", "near"]].tolist() == ["CASP13/14", "T1024 my native"]
    assert found.loc["chain:9xyz_B", "why"] == "e-value <= 0.001"
    missing = audit[audit["set"] == "CAMEO"]
    assert missing["why"].tolist() == ["NOT EXCLUDED: no sequences were given"]
    sets = pd.read_csv(folder / "sets.tsv", sep="\t").set_index("set")
    assert sets.loc["CASP13/14"].tolist() == [1, 1] and sets.loc["CAMEO"].tolist() == [0, 0]


def test_excluded_are_read_from_fasta_files_and_folders_of_structures(tmp_path):
    (tmp_path / "casp.fasta").write_text(">T1 first\nACDEF\nGHIKL\n>T2\nMNPQ\n")
    natives = tmp_path / "natives"
    natives.mkdir()
    coordinates = np.random.default_rng(1).normal(0, 20, (4, 5, 3))
    write_mmcif(Chain.from_atoms("T3", "ACDE", coordinates), natives / "T3.cif")
    (natives / "T4.fasta").write_text(">T4\nWWWW\n")
    (natives / "notes.txt").write_text("nothing to read")
    found = data.read_excluded([str(tmp_path / "casp.fasta"), str(natives)])
    assert sorted(found.values()) == ["ACDE", "ACDEFGHIKL", "MNPQ", "WWWW"]


def test_excluded_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "T1.pdb").write_text("no structure")
    with pytest.raises(StructureError, match=r"T1\.pdb"):
        data.read_excluded([str(tmp_path)])
    (tmp_path / "T1.pdb").unlink()
    with pytest.raises(ValueError, match="holds neither"):
        data.read_excluded([str(tmp_path)])


def test_records_of_one_name_in_two_sources_are_all_left_out(tmp_path, caplog):
    for name, sequence in (("T1024", "ACDE"), ("T1030", "WWWW")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "query.fasta").write_text(f">query\n{sequence}\n")
        (tmp_path / name / "notes.txt").touch()
    found = data.read_excluded([str(tmp_path / "T1024"), str(tmp_path / "T1030")])
    assert sorted(found.values()) == ["ACDE", "WWWW"]
    assert "neither FASTA nor structures: notes.txt" in caplog.text


def test_an_id_with_two_sequences_is_refused(tmp_path):
    (tmp_path / "casp.fasta").write_text(">T A\nAAAA\n>T B\nCCCC\n")
    with pytest.raises(ValueError, match=r"casp\.fasta_T is there twice"):
        data.read_excluded([str(tmp_path / "casp.fasta")])


def test_a_preset_draws_so_many_records_and_zero_means_all():
    swissprot = {f"P{number}": "A" * number for number in range(9)}
    database = FakeDatabase([30, 50, 60, 70, 300])
    settings = {"lengths": (40, 128), "seed": 1}
    sequences, chains = data.choose(swissprot, database, max_sequences=4, max_chains=2, **settings)
    assert len(sequences) == 4 and len(chains) == 2
    sequences, chains = data.choose(swissprot, database, max_sequences=0, max_chains=0, **settings)
    assert sequences == swissprot and sorted(chains) == ["c1", "c2", "c3"]


class FakeDatabase(list):
    def identity(self, index):
        return f"c{index}"

    def length(self, index):
        return self[index]

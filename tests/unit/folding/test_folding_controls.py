"""The control of exchanged structures, the copied nearest chain and the oracle's choice."""

import numpy as np
import pytest

from hardfold import geometry, scoring, tables
from hardfold.dataset import Dataset
from hardfold.folding.nearest import copy_nearest, copy_structure
from hardfold.folding.oracle import choose_with_native
from hardfold.folding.shuffled import ShuffleError, choose_donors, shuffle_labels, with_structure
from hardfold.structure.chain import Chain, load_chains
from hardfold.structure.parse import read_model
from hardfold.structure.write import write_mmcif

ARM = "control"


def test_donors_are_other_chains_of_like_length_and_another_cluster():
    lengths = {f"c{number:03d}": 50 + number for number in range(100)}
    clusters = {id: id if int(id[1:]) % 10 else "family" for id in lengths}
    donors = choose_donors(lengths, clusters, 1, ARM)
    assert sorted(donors) == sorted(donors.values()) == sorted(lengths)  # each gives and takes once
    assert all(clusters[id] != clusters[donor] for id, donor in donors.items())
    assert np.mean([abs(lengths[id] - lengths[donor]) for id, donor in donors.items()]) < 3
    assert donors == choose_donors(lengths, clusters, 1, ARM)
    equal = dict.fromkeys(lengths, 60)
    assert choose_donors(equal, clusters, 1, ARM) != choose_donors(equal, clusters, 2, ARM)


def test_donors_are_exchanged_within_blocks(monkeypatch):
    monkeypatch.setattr("hardfold.folding.shuffled.BLOCK", 7)
    lengths = {f"c{number:03d}": 50 + number for number in range(30)}
    donors = choose_donors(lengths, {id: id for id in lengths}, 1, ARM)
    assert sorted(donors.values()) == sorted(lengths)
    assert max(abs(lengths[id] - lengths[donor]) for id, donor in donors.items()) < 7


def test_one_cluster_cannot_exchange():
    with pytest.raises(ShuffleError, match=r"^control: no unrelated donor is left for [ab]; take the arm out of"):
        choose_donors({"a": 5, "b": 6, "c": 7}, {"a": "a", "b": "a", "c": "c"}, 1, ARM)


def chain(id, sequence, seed):
    generator = np.random.default_rng(seed)
    return Chain.from_atoms(id, sequence, generator.normal(size=(len(sequence), 5, 3)) * 10)


def test_the_donors_structure_is_cut_or_left_unresolved():
    long, short = chain("a", "ACDEFGHIKL", 1), chain("b", "MNPQRS", 2)
    given = with_structure(short, long)
    assert given.sequence == short.sequence and given.mask.all()
    assert np.array_equal(given.coordinates[:, :4], long.coordinates[:6, :4])
    given = with_structure(long, short)
    assert given.mask.tolist() == [True] * 6 + [False] * 4
    assert np.isnan(given.coordinates[5, 4]).all()  # glycine has no CB


def test_the_control_trains_on_the_same_sequences_with_other_structures(real_data, tmp_path):
    ids = Dataset(real_data).ids
    tables.write(tmp_path / "assignment.tsv", [{"chain": id, "cluster": id} for id in ids], ["chain", "cluster"])
    shuffle_labels(real_data, tmp_path / "assignment.tsv", tmp_path / "train.h5", 1)
    before, after = Dataset(real_data), Dataset(tmp_path / "train.h5")
    assert after.ids == ids
    for id in ids:
        own, other = before[id], after[id]
        assert own.sequence == other.sequence
        assert not np.allclose(own.coordinates[:5, 1], other.coordinates[:5, 1])
        distances = geometry.distance_map(other.coordinates, other.sequence)
        assert np.allclose(other.distance_map, distances, rtol=1e-3, equal_nan=True)
        assert np.array_equal(other.contact_map, geometry.contact_map(distances))
        assert other.angle_map.shape == (len(own.sequence), 2)
    assert {c.id for c in load_chains(tmp_path / "train.h5").values()} == set(ids)


def test_a_structure_is_copied_through_the_alignment():
    template = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
    sequence = "GGG" + template[:15] + "P" + template[15:] + "AA"  # an insertion and two ends
    coordinates = np.arange(len(template) * 15, dtype=np.float32).reshape(-1, 5, 3)
    copied = copy_structure(sequence, template, coordinates)
    assert np.isnan(copied[:3]).all() and np.isnan(copied[-2:]).all() and np.isnan(copied[18]).all()
    assert np.array_equal(copied[3:18, 1], coordinates[:15, 1])
    assert np.array_equal(copied[19:37, 1], coordinates[15:, 1])
    assert np.isnan(copied[sequence.index("G", 10), 4]).all()


def test_a_tag_that_is_unresolved_in_the_template_is_not_what_is_copied():
    tag, core = "HHHHHHHHHH", "MKTAYIAKQRQISFV"
    template, sequence = tag + core, core[:5] + "WW" + core[7:] + "GSGSGS" + tag
    coordinates = np.arange(len(template) * 15, dtype=np.float32).reshape(-1, 5, 3)
    coordinates[: len(tag)] = np.nan
    copied = copy_structure(sequence, template, coordinates)
    assert np.array_equal(copied[: len(core), 1], coordinates[len(tag) :, 1])
    assert np.isnan(copied[len(core) :]).all()
    assert np.isnan(copy_structure("WWWW", "MKTA", coordinates[:4] * 0)).all()  # nothing to align


def test_a_copy_without_a_resolved_residue_is_no_copy(real_data, tmp_path, monkeypatch):
    ids = Dataset(real_data).ids
    audit = [{"chain": id, "nearest_kept": ids[0], "identity_kept": "0.25"} for id in ids]
    tables.write(tmp_path / "audit.tsv", audit, list(audit[0]))
    unresolved = Dataset(real_data)[ids[0]]
    unresolved.mask[:] = False
    monkeypatch.setattr(Dataset, "__getitem__", lambda self, id: unresolved)  # what is copied lands on nothing
    copy_nearest(targets=real_data, train=real_data, audit=tmp_path / "audit.tsv", output=tmp_path / "out/rows.tsv")
    table = tables.read(tmp_path / "out/rows.tsv", key="target")
    assert (table["file"] == "").all() and (table["residues"] == "").all()
    assert not list((tmp_path / "out").glob("*.cif"))


def test_the_nearest_chain_is_scored_where_there_is_one_and_empty_elsewhere(real_data, tmp_path):
    one, other, third = Dataset(real_data).ids[:3]
    columns = ["chain", "nearest_kept", "identity_kept"]
    audit = {id: dict(zip(columns, (id, "", ""), strict=True)) for id in Dataset(real_data).ids}
    audit[one] |= {"nearest_kept": third, "identity_kept": "0.25"}
    tables.write(tmp_path / "audit.tsv", list(audit.values()), columns)
    output = tmp_path / "seed0/predictions.tsv"
    copy_nearest(targets=real_data, train=real_data, audit=tmp_path / "audit.tsv", output=output)
    table = tables.read(output, key="target").set_index("target")
    assert table.loc[one, "file"] == f"{one}.cif" and table.loc[other, "file"] == ""
    assert int(table.loc[one, "residues"]) <= len(Dataset(real_data)[one].sequence)
    assert not (tmp_path / f"seed0/{other}.cif").exists()

    chains = load_chains(real_data)
    natives = tmp_path / "targets"
    for id in (one, other):
        write_mmcif(chains[id], natives / f"{id}.cif")
    units = [{"target": id, "unit": "chain", "start": 1, "end": len(chains[id].sequence)} for id in (one, other)]
    tables.write(natives / "units.tsv", units, ["target", "unit", "start", "end"])
    facts = [{"target": id, "unit": "chain", "class": "hard", "in_baseline_training_period": ""} for id in (one, other)]
    tables.write(natives / "targets.tsv", facts, list(facts[0]))
    tables.write(tmp_path / "neff.tsv", [{"chain": one, "neff": 1}], ["chain", "neff"])
    places = {"natives": natives, "alignments": tmp_path / "neff.tsv", "audit": tmp_path / "audit.tsv"}
    scoring.score_predictions(
        predictions=output, arm="nearest_training", seed=0, output=tmp_path / "scores.tsv", **places
    )
    scores = tables.read(tmp_path / "scores.tsv", scoring.COLUMNS, key="target").set_index("target")
    assert 0 < float(scores.loc[one, "tm"]) <= 1
    assert (scores.loc[other, ["tm", "gdt_ts", "lddt", "rmsd"]] == "").all()
    assert int(scores.loc[other, "residues"]) == chains[other].mask.sum()  # not predicted is unknown, not 0
    assert (scores["plddt"] == "").all()


def test_the_oracle_takes_the_step_nearest_the_native(tmp_path):
    native = chain("T1", "ACDEFGHIKLMNPQRSTVWYACDEFGHIKL", 3)
    write_mmcif(native, tmp_path / "targets/T1.cif")
    rows = []
    for step, noise in ((0, 6.0), (10, 0.5), (20, 0.5), (30, 3.0)):
        shift = np.random.default_rng(int(10 * noise)).normal(size=native.coordinates.shape) * noise
        moved = Chain.from_atoms("T1", native.sequence, native.coordinates + shift)
        file = f"steps/{step}/T1.cif"
        write_mmcif(moved, tmp_path / "run" / file)
        chosen = "yes" if step == 30 else "no"
        rows.append({"target": "T1", "step": step, "file": file, "residues": 30, "plddt": 50 + step, "chosen": chosen})
    tables.write(tmp_path / "run/steps.tsv", rows, list(rows[0]))
    output = tmp_path / "oracle/predictions.tsv"
    choose_with_native(
        steps=tmp_path / "run/steps.tsv",
        natives=tmp_path / "targets",
        curve=tmp_path / "oracle/steps.tsv",
        output=output,
    )
    curve = tables.read(tmp_path / "oracle/steps.tsv").set_index("step")
    assert curve["best"].to_dict() == {"0": "no", "10": "yes", "20": "no", "30": "no"}  # of equals the earliest
    assert float(curve.loc["10", "tm"]) == float(curve.loc["20", "tm"]) > float(curve.loc["0", "tm"])
    assert tables.read(output)[["target", "file", "plddt", "step"]].to_numpy().tolist() == [
        ["T1", "T1.cif", "60", "10"]
    ]
    assert np.array_equal(
        read_model(tmp_path / "oracle/T1.cif").coordinates,
        read_model(tmp_path / "run/steps/10/T1.cif").coordinates,
        equal_nan=True,
    )

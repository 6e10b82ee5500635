"""Each baseline is what its name says, fitted on the training chains alone."""

import h5py
import numpy as np
import pytest
from made_up_maps import contact_maps, write_dataset, write_splits

from hardfold import contacts, regression
from hardfold.contact.baselines import (
    attention_head,
    base_rate,
    predict_baseline,
    scaled_couplings,
    separation_prior,
    typical_geometry,
)
from hardfold.contact.baselines import shuffled as shuffle
from hardfold.contact.columns import describe_columns
from hardfold.contact.embed import embed_chains
from hardfold.contact.embeddings import EmbeddingsError
from hardfold.contact.keys import (
    BASELINES,
    COUPLINGS,
    HEAD_CHAINS,
    baseline_entries,
    embedding_entries,
    encoder_entries,
)
from hardfold.dataset import Dataset
from hardfold.regression import contact_probability, fit_contacts

ESM2 = "esm2_t2_tiny"
ENTRIES = baseline_entries(ESM2)


def counted(maps, separation):
    """(pairs, contacts) of a separation, counted one by one."""
    pairs = found = 0
    for truth in maps.values():
        for i in range(len(truth) - separation):
            pairs += truth[i, i + separation] != 255
            found += truth[i, i + separation] == 1
    return pairs, found


@pytest.fixture
def train(tmp_path):
    maps = {**contact_maps(2, 20, 1, 0.2), **contact_maps(1, 31, 2, 0.3)}
    maps["1map_0000"][4] = maps["1map_0000"][:, 4] = 255
    return maps, Dataset(write_dataset(tmp_path / "train.h5", maps))


def record_of(folder, length):
    (record,) = Dataset(write_dataset(folder / "one.h5", {"one": np.zeros((length, length), np.uint8)}))
    return record


def test_the_base_rate_is_that_of_the_training_pairs(train, tmp_path):
    maps, data = train
    pairs, found = np.sum([counted(maps, separation) for separation in range(6, 31)], axis=0)
    predicted = base_rate(data)("test", record_of(tmp_path, 9))
    assert predicted.shape == (9, 9) and (predicted == found / pairs).all()


def test_the_separation_prior_is_counted_by_hand(train, tmp_path):
    maps, data = train
    predicted = separation_prior(data)("test", record_of(tmp_path, 40))
    for separation in range(31):
        pairs, found = counted(maps, separation)
        assert (np.diag(predicted, separation) == found / pairs).all()
    # No training chain is longer than 31 residues.
    assert (np.diag(predicted, 36) == predicted[0, 30]).all() and np.array_equal(predicted, predicted.T)


def test_a_separation_that_no_training_pair_has_takes_the_next_smaller_one(tmp_path):
    truth = np.zeros((12, 12), np.uint8)
    truth[[1, 10]] = truth[:, [1, 10]] = 255  # no pair is resolved that is 10 apart
    truth[0, 11] = truth[11, 0] = 1
    (record,) = data = Dataset(write_dataset(tmp_path / "train.h5", {"one": truth}))
    predicted = separation_prior(data)("test", record)
    assert predicted[0, 11] == 1 and predicted[0, 10] == predicted[0, 9] == 0


def test_typical_distances_and_angles_are_means_of_the_training_chains(chain_files):
    data = Dataset(chain_files["train"])
    geometry = typical_geometry(data, 12.0)(9)
    values = [
        record.distance_map[i, i + 4] for record in data for i in range(len(record.sequence) - 4)
        if record.distance_map[i, i + 4] <= 12
    ]  # fmt: skip
    assert values and np.diag(geometry["distance"], 4) == pytest.approx(np.mean(values), rel=1e-3)
    angles = np.concatenate([record.angle_map[np.isfinite(record.angle_map[:, 1]), 1] for record in data])
    expected = np.arctan2(np.sin(angles).mean(), np.cos(angles).mean())
    assert geometry["angles"].shape == (9, 2) and geometry["angles"][:, 1] == pytest.approx(expected, abs=1e-4)


def planted(maps, generator, channels=4):
    """(channels, L, L) maps of which the second one shows the contacts."""
    found = {}
    for id, truth in maps.items():
        noise = generator.normal(size=(channels, *truth.shape))
        noise[1] += 2 * (truth == 1)
        found[id] = ((noise + noise.transpose(0, 2, 1)) / 2).astype(np.float16)
    return lambda split, record: found[record.id]


def test_the_attention_head_finds_the_map_that_shows_contacts_and_the_shuffled_one_does_not(tmp_path):
    maps = contact_maps(26, 40, 5)
    data = Dataset(write_dataset(tmp_path / "train.h5", maps))
    read = planted(maps, np.random.default_rng(0))
    predictors = {"whole": attention_head(data, read), "shuffled": attention_head(data, shuffle(read, 1))}
    scores = {
        name: np.mean([contacts.evaluate(predict("test", record), record.contact_map)["roc_auc"] for record in data])
        for name, predict in predictors.items()
    }
    assert scores["whole"] > 0.9 and abs(scores["shuffled"] - 0.5) < 0.05


def test_shuffling_keeps_the_values_and_depends_on_the_chain_and_the_seed(tmp_path):
    maps = contact_maps(2, 20, 6)
    first, second = Dataset(write_dataset(tmp_path / "train.h5", maps))
    values = np.random.default_rng(0).random((3, 20, 20))
    values = values + values.transpose(0, 2, 1)
    one, again, other, seeded = (
        shuffle(lambda split, record: values, seed)("test", record)
        for seed, record in ((1, first), (1, first), (1, second), (2, first))
    )
    assert np.array_equal(one, again) and np.array_equal(one, one.transpose(0, 2, 1))
    assert np.array_equal(np.sort(one.reshape(3, -1)), np.sort(values.reshape(3, -1)))
    assert not any(np.array_equal(one, changed) for changed in (values, other, seeded))


def test_a_head_is_fitted_on_so_many_training_chains_spread_over_all(tmp_path):
    maps = contact_maps(HEAD_CHAINS + 30, 30, 7)
    seen = []
    read = planted(maps, np.random.default_rng(0))
    attention_head(
        Dataset(write_dataset(tmp_path / "train.h5", maps)),
        lambda split, record: (seen.append(record.id), read(split, record))[1],
    )
    assert len(seen) == HEAD_CHAINS and min(maps) in seen and max(maps) in seen


def test_the_regression_uses_resolved_pairs_six_apart_alone():
    generator = np.random.default_rng(3)
    (truth,) = contact_maps(1, 60, 8).values()
    maps = generator.normal(size=(2, 60, 60)) + [[[1.0]], [[0.0]]] * truth
    maps = maps + maps.transpose(0, 2, 1)
    expected = fit_contacts([(maps, truth)])
    assert expected[0][0] > 0.5 > 0.1 > abs(expected[0][1])
    near = np.abs(np.subtract.outer(np.arange(60), np.arange(60))) < 6
    changed = fit_contacts([(np.where(near, 99.0, maps), np.where(near, 1, truth).astype(np.uint8))])
    assert np.array_equal(changed[0], expected[0])
    hidden = np.pad(truth, (0, 9), constant_values=255)  # unresolved residues at the end
    assert np.array_equal(fit_contacts([(np.pad(maps, ((0, 0), (0, 9), (0, 9))), hidden)])[0], expected[0])
    probability = contact_probability(maps, *expected)
    assert probability[3, 50] == pytest.approx(1 / (1 + np.exp(-expected[0] @ maps[:, 3, 50] - expected[1])), rel=1e-5)


def test_a_chain_of_many_pairs_is_fitted_on_a_sample_of_them_always_the_same(monkeypatch):
    generator, fitted = np.random.default_rng(3), []
    (truth,) = contact_maps(1, 60, 8).values()
    maps = generator.normal(size=(2, 60, 60)) + truth
    monkeypatch.setattr(regression, "PAIRS", 1000)

    class Spy(regression.LogisticRegression):
        def fit(self, features, labels):
            fitted.append(features)
            return super().fit(features, labels)

    monkeypatch.setattr(regression, "LogisticRegression", Spy)
    first, second = (fit_contacts([(maps, truth)] * 2) for _ in range(2))
    assert np.array_equal(first[0], second[0]) and first[1] == second[1]
    assert fitted[0].shape == (2000, 2) and len(np.unique(fitted[0], axis=0)) == 1000
    assert first[0].min() > 0.3


def test_couplings_keep_their_ranking_and_become_frequencies(tmp_path):
    maps = contact_maps(12, 50, 9)
    data = Dataset(write_dataset(tmp_path / "train.h5", maps))
    read = planted(maps, np.random.default_rng(0), channels=2)
    couplings = {record.id: read("train", record)[1:] for record in data}
    predict = scaled_couplings(data, lambda split, record: couplings[record.id])
    predicted = {record.id: predict("test", record) for record in data}
    for record in data:
        raw, scaled = (contacts.resolved_pairs(values, record.contact_map)[0]
                       for values in (couplings[record.id][0], predicted[record.id]))  # fmt: skip
        assert np.array_equal(np.argsort(-raw, kind="stable"), np.argsort(-scaled, kind="stable"))
    # A logistic regression with an intercept is right on average.
    scores, is_contact = (
        np.concatenate(part) for part in zip(
            *(contacts.resolved_pairs(predicted[record.id], record.contact_map) for record in data), strict=True
        )
    )  # fmt: skip
    assert scores.mean() == pytest.approx(is_contact.mean(), rel=1e-3)


def test_couplings_that_mislead_keep_their_ranking_too(tmp_path, caplog):
    maps = contact_maps(5, 40, 10)
    data = Dataset(write_dataset(tmp_path / "train.h5", maps))
    predict = scaled_couplings(data, lambda split, record: -2.0 * record.contact_map[None].astype(np.float16))
    assert "say nothing" in caplog.text
    assert all(predict("test", record)[record.contact_map == 1].max() < 0.5 for record in data)
    first = data[data.ids[0]]
    assert np.array_equal(predict("test", first) < predict("test", first).max(), first.contact_map == 1)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, weight_folders, chain_files):
    folder = tmp_path_factory.mktemp("baselines")
    outputs = {split: folder / ENTRIES["attention_head"]["key"] / f"{split}.h5" for split in chain_files}
    embed_chains(
        embedding=ENTRIES["attention_head"], weights=weight_folders["esm2"], chains=chain_files, outputs=outputs,
        threads=1,
    )  # fmt: skip
    describe_columns(
        "couplings", list(chain_files.values()), [folder / f"couplings/{split}.h5" for split in chain_files]
    )
    return folder


@pytest.mark.parametrize("baseline", BASELINES)
def test_every_baseline_predicts_the_held_out_chains_of_the_workflow(
    baseline, embedded, weight_folders, chain_files, tmp_path
):
    entry = ENTRIES[baseline]
    for name in ("a.h5", "b.h5"):
        predict_baseline(
            baseline=baseline, entry=entry, weights=weight_folders["esm2"] if entry and entry["encoder"] else None,
            embeddings=embedded, chains=chain_files, output=tmp_path / name, max_distance=20, seed=1,
        )  # fmt: skip
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["experiment"] == baseline
        for split in ("validation", "test", "target"):
            chains = Dataset(chain_files[split])
            assert sorted(id for id in file if file[id].attrs["split"] == split) == chains.ids
            for id, length in zip(chains.ids, chains.lengths(), strict=True):
                values = file[id]["contact_probability"]
                assert values.shape == (length, length) and values.dtype == np.float16
                assert ("distance" in file[id]) == (baseline == "separation_prior") == ("angles" in file[id])
                assert ((values[()] > 0) & (values[()] < 1)).any() and np.array_equal(values, np.transpose(values))


def test_embeddings_of_other_weights_are_refused(embedded, weight_folders, chain_files, tmp_path):
    with pytest.raises(EmbeddingsError, match="made with weights"):
        predict_baseline(
            baseline="attention_head", entry=ENTRIES["attention_head"], weights=weight_folders["esm_msa"],
            embeddings=embedded, chains=chain_files, output=tmp_path / "a.h5", max_distance=20, seed=1,
        )  # fmt: skip


def test_only_the_training_chains_that_a_head_needs_are_embedded(weight_folders, tmp_path):
    chains = write_splits(tmp_path, train=contact_maps(HEAD_CHAINS + 5, 12, 1), test=contact_maps(3, 12, 2))
    entry = ENTRIES["attention_head"]
    for most, count in ((HEAD_CHAINS, HEAD_CHAINS), (None, HEAD_CHAINS + 5)):
        outputs = {split: tmp_path / f"{most}/{split}.h5" for split in chains}
        embed_chains(
            embedding={**entry, "training_chains": most}, weights=weight_folders["esm2"], chains=chains,
            outputs=outputs, threads=1,
        )  # fmt: skip
        sizes = []
        for output in outputs.values():
            with h5py.File(output) as file:
                sizes.append(len(file))
        assert sizes == [count, 0, 3, 0]


def test_an_encoder_is_run_once_for_experiments_and_baselines(options):
    all_frozen = {**options, "esm2_name": ESM2, "num_layers_to_freeze_esm2": 2, "use_esm2_attention": True}
    entries = encoder_entries([all_frozen], ENTRIES.values())
    attention = embedding_entries(all_frozen)["esm2_attention"]
    # The experiment's entry is kept: it needs the maps of all training chains.
    assert entries[ENTRIES["attention_head"]["key"]] == attention and attention["training_chains"] is None
    alone = encoder_entries([{**options, "use_msa": False}], ENTRIES.values())
    assert {key: entry["training_chains"] for key, entry in alone.items()} == {
        "esm2_t2_tiny.layer2.attention": HEAD_CHAINS, "esm2_t2_tiny.layer1.features": None
    }  # fmt: skip
    assert ENTRIES["couplings"] is COUPLINGS and ENTRIES["base_rate"] is None

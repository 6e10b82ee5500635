import h5py
import pytest
import torch

from hardfold import backbones
from hardfold.contact.model import ContactModel
from hardfold.contact.samples import Samples
from hardfold.dataset import FORMAT_VERSION

WHOLE = 40  # longer than any chain


def build(options, **changes):
    torch.manual_seed(0)
    options = {**options, **changes}
    model = ContactModel(backbones.build_esm2(2, 8, 2), backbones.build_esm_msa(2, 8, 2), options)
    torch.manual_seed(1)
    for encoder in model.encoders().values():
        torch.nn.init.normal_(encoder.model.embed_tokens.weight)
    return model.eval()


def tokens_of(chains, model, options):
    """The same chains' inputs, none of them computed beforehand."""
    given = build(options, max_length=WHOLE, num_layers_to_freeze_esm2=0, num_layers_to_freeze_msa=0)
    samples = Samples(chains, given, "unused")
    return samples.collate([samples[index, 0] for index in range(3)])


@pytest.mark.parametrize("frozen", [1, 2])
def test_a_frozen_run_equals_the_one_that_computes_everything(options, chain_files, build_samples, tmp_path, frozen):
    changes = {"num_layers_to_freeze_esm2": frozen, "num_layers_to_freeze_msa": frozen, "max_length": WHOLE}
    model = build(options, **changes)
    samples = build_samples(chain_files["train"], model, tmp_path)
    kept = samples.collate([samples[index, 0] for index in range(3)])
    given = tokens_of(chain_files["train"], model, options)
    assert kept["esm2"].is_floating_point() and not given["esm2"].is_floating_point()
    assert isinstance(kept["esm_msa"], list) == (frozen == 1)
    for task, values in model(kept).items():
        torch.testing.assert_close(values, model({**kept, **{key: given[key] for key in ("esm2", "esm_msa")}})[task],
                                   rtol=0, atol=1e-5)  # fmt: skip


def test_training_runs_no_frozen_layer(options, chain_files, build_samples, tmp_path, monkeypatch):
    model = build(options)
    samples = build_samples(chain_files["train"], model, tmp_path)
    for encoder in model.encoders().values():
        monkeypatch.setattr(encoder, "_embed", lambda tokens: pytest.fail("a frozen encoder was run"))
    for batch in samples.training(seed=1, epoch=0):
        model(batch)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_a_crop_cuts_inputs_and_truth_alike(options, chain_files, build_samples, tmp_path, frozen):
    changes = {"num_layers_to_freeze_esm2": frozen, "num_layers_to_freeze_msa": frozen}
    attention = {"use_esm2_attention": True, "use_msa_attention": True}
    whole, crop = (
        build_samples(chain_files["train"], build(options, **changes, **attention, max_length=size), tmp_path)[0, start]
        for size, start in ((WHOLE, 0), (12, 5))
    )
    before, after = (0, 0) if frozen == 2 else (1, 1)
    length = len(whole["contact"])
    inside = [*range(before), *range(before + 5, before + 17), *range(before + length, before + length + after)]
    assert torch.equal(crop["esm2"], whole["esm2"][inside])
    alignment = whole["esm_msa"][:, [0, *range(6, 18)]] if frozen < 2 else whole["esm_msa"][5:17]
    assert torch.equal(crop["esm_msa"], alignment)
    for key in ("contact", "distance"):
        torch.testing.assert_close(crop[key], whole[key][5:17, 5:17], equal_nan=True, rtol=0, atol=0)
    assert crop["angle"].shape == (12, 2) and crop["start"] == 5
    assert ("pair" in crop) == (frozen > 0)
    if frozen:
        assert crop["pair"].dtype == torch.float16 and crop["pair"].shape == (2 * 2 * frozen, 12, 12)
        assert torch.equal(crop["pair"], whole["pair"][:, 5:17, 5:17])


def test_padding_is_masked_and_unknown(options, chain_files, build_samples, tmp_path):
    samples = build_samples(chain_files["train"], build(options, max_length=WHOLE, use_esm2_attention=True), tmp_path)
    batch = samples.collate([samples[index, 0] for index in range(3)])
    for b in range(3):
        length = samples.lengths[b]
        assert batch["mask"][b].sum() == length
        assert (batch["contact"][b, length:] == 255).all() and (batch["contact"][b, :, length:] == 255).all()
        assert batch["distance"][b, length:].isnan().all() and batch["angle"][b, length:].isnan().all()
        assert not batch["pair"][b, :, length:].any() and not batch["pair"][b, :, :, length:].any()
        assert batch["pair"][b, :, :length, :length].any()


def test_only_the_configured_number_of_rows_is_read(options, chain_files, build_samples, tmp_path):
    model = build(options, num_layers_to_freeze_msa=0, num_msa_rows=3)
    samples = build_samples(chain_files["train"], model, tmp_path)
    assert [len(samples[index, 0]["esm_msa"]) for index in range(5)] == [1, 2, 3, 3, 3]


def test_pair_features_come_in_their_order_and_only_where_asked_for(options, chain_files, build_samples, tmp_path):
    asked = {"use_esm2_attention": True, "use_msa_attention": True, "use_couplings": True}
    samples = build_samples(chain_files["train"], build(options, **asked), tmp_path)
    pair = samples[3, 0]["pair"]
    assert len(pair) == 1 * 2 + 2 * 2 + 1  # layers frozen by default x heads, and the couplings
    single = {
        option: build_samples(chain_files["train"], build(options, **{option: True}), tmp_path) for option in asked
    }
    assert torch.equal(pair, torch.cat([samples[3, 0]["pair"] for samples in single.values()]))
    assert "pair" not in build_samples(chain_files["train"], build(options), tmp_path)[3, 0]


def test_the_model_takes_as_many_pair_features_as_it_counts(options, chain_files, build_samples, tmp_path):
    for frozen in (0, 1, 2):
        model = build(
            options, use_esm2_attention=True, use_msa_attention=True, use_couplings=True,
            num_layers_to_freeze_esm2=frozen, num_layers_to_freeze_msa=2 - frozen,
        )  # fmt: skip
        samples = build_samples(chain_files["train"], model, tmp_path)
        batch = samples.collate([samples[0, 0], samples[4, 0]])
        assert model.encode(batch)[2].shape[1] == model.pair_channels == 2 * 2 + 2 * 2 + 1


def batches(samples, epoch=0, seed=1):
    return [list(zip(batch["ids"], batch["starts"], strict=True)) for batch in samples.training(seed, epoch)]


def test_order_and_crops_come_from_the_seed_and_the_epoch(options, chain_files, build_samples, tmp_path):
    samples = build_samples(chain_files["train"], build(options), tmp_path)
    first = batches(samples)
    assert batches(samples) == first != batches(samples, epoch=1) != batches(samples, epoch=1, seed=2)
    assert sorted(name for batch in first for name, _ in batch) == samples.chains.ids
    assert any(start for batch in first for _, start in batch)


def test_truncated_training_reads_first_residues_only(options, chain_files, build_samples, tmp_path):
    samples = build_samples(chain_files["train"], build(options, train_mode="truncate_seq"), tmp_path)
    assert not any(start for batch in batches(samples) for _, start in batch)


@pytest.mark.parametrize(
    ("change", "starts"),
    [({}, [0, 8]), ({"sliding_window_step": 3}, [0, 3, 6, 8]), ({"val_mode": "truncate_seq"}, [0])],
)
def test_windows_of_validation(options, chain_files, build_samples, tmp_path, change, starts):
    samples = build_samples(chain_files["validation"], build(options, **change), tmp_path)
    index = next(i for i, length in enumerate(samples.lengths) if length > 24)
    found = [
        start
        for batch in samples.windows()
        for name, start in zip(batch["ids"], batch["starts"], strict=True)
        if name == samples.chains.ids[index]
    ]
    last = samples.lengths[index] - 24
    assert found == [start for start in starts if start < last and start != 8] + [last] * (len(starts) > 1)


@pytest.mark.parametrize(
    ("change", "loader"),
    [({"batch_size": 1}, "training"), ({"max_tokens_per_batch": 24}, "training"), ({"val_batch_size": 1}, "windows")],
)
def test_batch_sizes_and_the_budget_are_kept(options, chain_files, build_samples, tmp_path, change, loader):
    for changes, expected in (({}, False), (change, True)):
        samples = build_samples(chain_files["train"], build(options, **changes), tmp_path)
        found = samples.training(1, 0) if loader == "training" else samples.windows()
        assert all(len(batch["ids"]) == 1 for batch in found) == expected


def test_a_crop_that_only_keeps_a_process_busy_knows_no_truth(options, chain_files, build_samples, tmp_path):
    samples = build_samples(chain_files["train"], build(options), tmp_path)
    busy, crop = samples.collate([samples[2, None]]), samples.collate([samples[2, 0]])
    assert busy["starts"] == [None] and torch.equal(busy["esm2"], crop["esm2"])
    assert (busy["contact"] == 255).all() and busy["distance"].isnan().all() and busy["angle"].isnan().all()


def test_workers_give_the_same_batches(options, chain_files, build_samples, tmp_path):
    read = []
    for workers in (0, 2):
        model = build(options, num_workers=workers, num_layers_to_freeze_msa=1, use_esm2_attention=True)
        samples = build_samples(chain_files["train"], model, tmp_path)
        samples[0, 0]  # files are open here before the workers begin
        assert samples.training(1, 0).num_workers == workers
        read.append(list(samples.training(1, 0)))
    for alone, by_workers in zip(*read, strict=True):
        assert alone["ids"] == by_workers["ids"] and alone["starts"] == by_workers["starts"]
        for key in ("contact", "esm2", "pair"):
            assert torch.equal(alone[key], by_workers[key])
        assert all(map(torch.equal, alone["esm_msa"], by_workers["esm_msa"]))


def test_an_empty_split_is_an_error(options, tmp_path):
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.attrs["format_version"] = FORMAT_VERSION
        file.create_group("chains")
    with pytest.raises(ValueError, match=r"none\.h5: no chains"):
        Samples(tmp_path / "none.h5", build(options), tmp_path)

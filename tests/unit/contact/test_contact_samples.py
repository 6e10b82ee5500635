import h5py
import pytest
import torch

from hardfold import backbones
from hardfold.contact.model import ContactModel
from hardfold.contact.samples import Samples


def build(options, **changes):
    torch.manual_seed(0)
    options = {**options, **changes}
    return ContactModel(backbones.build_esm2(2, 8, 2), backbones.build_esm_msa(2, 8, 2), options).eval()


def test_kept_features_are_those_the_encoder_gives(options, chain_files, tmp_path):
    frozen = build(options, num_layers_to_freeze_esm2=2, num_layers_to_freeze_msa=2)
    open_ = build(options, num_layers_to_freeze_esm2=1, num_layers_to_freeze_msa=1)
    kept = Samples(chain_files["train"], frozen, tmp_path / "kept.h5")
    given = Samples(chain_files["train"], open_, tmp_path / "given.h5")
    for index in range(len(kept)):
        features, tokens = kept[index, 0], given[index, 0]
        assert features["esm2"].is_floating_point() and tokens["esm2"].dtype == torch.int64
        torch.testing.assert_close(features["esm2"], open_.esm2(tokens["esm2"][None])[0])
        torch.testing.assert_close(features["esm_msa"], open_.esm_msa(tokens["esm_msa"][None])[0])


def test_a_frozen_encoder_runs_once_a_chain(options, chain_files, tmp_path, monkeypatch):
    model = build(options)
    seen = []
    forward = model.esm_msa.forward
    monkeypatch.setattr(model.esm_msa, "forward", lambda tokens: seen.append(1) or forward(tokens))
    samples = Samples(chain_files["train"], model, tmp_path / "cache.h5")
    for _ in range(3):
        model(samples.collate([samples[0, 0], samples[1, 0]]))
    assert len(seen) == len(samples)


def test_a_crop_cuts_inputs_and_truth_alike(options, chain_files, tmp_path):
    model = build(options)
    samples = Samples(chain_files["train"], model, tmp_path / "cache.h5", max_length=12)
    whole, crop = Samples(chain_files["train"], model, tmp_path / "whole.h5")[0, 0], samples[0, 5]
    assert torch.equal(crop["esm2"][1:-1], whole["esm2"][6:18])
    assert torch.equal(crop["esm_msa"], whole["esm_msa"][5:17])
    assert torch.equal(crop["contact"], whole["contact"][5:17, 5:17])
    assert crop["angle"].shape == (12, 2)


def test_padding_is_masked_and_unknown(options, chain_files, tmp_path):
    samples = Samples(chain_files["train"], build(options), tmp_path / "cache.h5")
    batch = samples.collate([samples[index, 0] for index in range(3)])
    for b in range(3):
        length = samples.lengths[b]
        assert batch["mask"][b].sum() == length
        assert (batch["contact"][b, length:] == 255).all() and (batch["contact"][b, :, length:] == 255).all()
        assert batch["distance"][b, length:].isnan().all() and batch["angle"][b, length:].isnan().all()


def test_only_the_configured_number_of_rows_is_read(options, chain_files, tmp_path):
    model = build(options, num_layers_to_freeze_msa=1, num_msa_rows=3)
    samples = Samples(chain_files["train"], model, tmp_path / "cache.h5")
    rows = [len(samples[index, 0]["esm_msa"]) for index in range(5)]
    assert rows == [1, 2, 3, 3, 3]


def test_chains_beyond_the_alignment_model_are_named(options, tmp_path):
    with h5py.File(tmp_path / "long.h5", "w") as file:
        file.attrs["format_version"] = "1"
        file["chains/9xyz_A/mask"] = [True] * 1024
    with pytest.raises(ValueError, match="9xyz_A: longer than the 1023 residues"):
        Samples(tmp_path / "long.h5", build(options), tmp_path / "cache.h5")


def test_an_empty_split_is_an_error(options, tmp_path):
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.attrs["format_version"] = "1"
        file.create_group("chains")
    with pytest.raises(ValueError, match=r"none\.h5: no chains"):
        Samples(tmp_path / "none.h5", build(options), tmp_path / "cache.h5")

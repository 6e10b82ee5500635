import pytest
import torch
from torch import nn

from hardfold import backbones
from hardfold.contact.model import ContactModel, CrossFusion, PairHead
from hardfold.contact.samples import Samples

DISTANCE_KINDS = ["mse", "smooth_l1", "cross_entropy"]
ANGLE_KINDS = ["mse", "cosine", "cross_entropy"]


def build(options, **changes):
    options.update(changes)
    torch.manual_seed(0)
    msa = backbones.build_esm_msa(2, 8, 2) if options["use_msa"] else None
    model = ContactModel(backbones.build_esm2(2, 8, 2), msa, options)
    # The layer norms of untrained backbones make no two tokens alike; spread their tiny embeddings further.
    for encoder in filter(None, (model.esm2, model.esm_msa)):
        nn.init.normal_(encoder.model.embed_tokens.weight)
    return model.eval()


def batch_of(model, path, tmp_path, indices, max_length=None):
    samples = Samples(path, model, tmp_path / "cache.h5", max_length)
    return samples.collate([samples[index, 0] for index in indices])


@pytest.mark.parametrize(("distance", "angle"), zip(DISTANCE_KINDS, ANGLE_KINDS, strict=True))
def test_outputs_have_their_shapes_and_pairs_are_symmetric(options, chain_files, tmp_path, distance, angle):
    model = build(options, distance_loss_type=distance, angle_loss_type=angle)
    batch = batch_of(model, chain_files["train"], tmp_path, [0, 1])
    size = batch["mask"].shape[1]
    outputs = model(batch)
    assert outputs["contact"].shape == (2, 1, size, size)
    assert outputs["distance"].shape == (2, 10 if distance == "cross_entropy" else 1, size, size)
    assert outputs["angle"].shape == (2, size, 2, 6 if angle == "cross_entropy" else 2)
    for task in ("contact", "distance"):
        assert torch.equal(outputs[task], outputs[task].transpose(-1, -2))
    predicted = model.predict(outputs)
    assert ((predicted["contact"] >= 0) & (predicted["contact"] <= 1)).all()
    assert ((predicted["distance"] >= 0) & (predicted["distance"] <= 20)).all()
    assert predicted["angle"].shape == (2, size, 2) and predicted["angle"].abs().max() <= torch.pi


def test_the_pair_head_equals_the_symmetrised_bilinear_form():
    head = PairHead(4, 3).double()
    nn.init.normal_(head.bias)
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    bilinear = nn.Bilinear(4, 4, 3, bias=False).double()
    bilinear.weight = head.weight
    expanded = bilinear(x[:, :, None].expand(2, 5, 5, 4), x[:, None].expand(2, 5, 5, 4)).permute(0, 3, 1, 2)
    expected = (expanded + expanded.transpose(-1, -2)) / 2 / 4
    separation = torch.tensor([[abs(i - j) for j in range(5)] for i in range(5)])
    torch.testing.assert_close(head(x), expected + head.bias[:, separation], rtol=0, atol=1e-12)


def test_the_pair_head_takes_chains_longer_than_its_separations():
    assert PairHead(4, 1)(torch.randn(1, 80, 4)).shape == (1, 1, 80, 80)


def test_the_alignment_reaches_every_output(options, chain_files, tmp_path):
    model = build(options)
    batch = batch_of(model, chain_files["train"], tmp_path, [0, 1])
    before = model(batch)
    batch["esm_msa"] = batch["esm_msa"] + torch.randn_like(batch["esm_msa"])
    after = model(batch)
    for task, values in before.items():
        assert not torch.allclose(values, after[task], atol=1e-3), task


def test_every_stream_and_residue_reaches_every_other():
    fusion = CrossFusion(8, 1, 2).eval()
    streams = torch.randn(1, 3, 5, 8, requires_grad=True)
    fused = fusion(streams, torch.ones(1, 5, dtype=torch.bool))
    fused[0, 0, 0].square().sum().backward()
    assert (streams.grad.abs().sum(-1) > 0).all()


def test_padding_changes_nothing(options, chain_files, tmp_path):
    model = build(options)
    lengths = Samples(chain_files["train"], model, tmp_path / "lengths.h5").lengths
    short, long = lengths.index(min(lengths)), lengths.index(max(lengths))
    alone = model(batch_of(model, chain_files["train"], tmp_path, [short]))
    padded = model(batch_of(model, chain_files["train"], tmp_path, [short, long]))
    size = lengths[short]
    square = (..., slice(size), slice(size))
    for task, cut in (("contact", square), ("distance", square), ("angle", slice(size))):
        torch.testing.assert_close(padded[task][0][cut], alone[task][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_freezing_takes_the_first_layers_and_the_embeddings(options, frozen):
    model = build(options, num_layers_to_freeze_esm2=frozen, num_layers_to_freeze_msa=frozen)
    for encoder in (model.esm2, model.esm_msa):
        assert encoder.is_frozen == (frozen == 2)
        trained = {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}
        assert any(name.startswith("embed_tokens") for name in trained) == (frozen == 0)
        layers = {name.split(".")[1] for name in trained if name.startswith("layers.")}
        assert layers == {str(layer) for layer in range(frozen, 2)}
        assert any(name.startswith("emb_layer_norm_after") for name in trained) == (frozen < 2)
        assert not any(name.startswith(("lm_head", "contact_head")) for name in trained)


def test_gradients_reach_what_is_trained_and_encoders_stay_in_eval_mode(options, chain_files, tmp_path):
    model = build(options, num_layers_to_freeze_msa=1).train()
    assert model.fusion.training and not any(module.training for module in model.esm_msa.modules())
    outputs = model(batch_of(model, chain_files["train"], tmp_path, [0, 4], max_length=20))
    sum(value.square().sum() for value in outputs.values()).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_more_frozen_layers_than_there_are_is_an_error(options):
    with pytest.raises(ValueError, match="num_layers_to_freeze_esm2 is 3; the model has 2 layers"):
        build(options, num_layers_to_freeze_esm2=3)


@pytest.mark.parametrize("use_msa", [False, True])
def test_contacts_alone_need_no_other_head(options, use_msa):
    model = build(options, use_msa=use_msa, use_distance=False, use_angle=False)
    assert list(model.heads) == ["contact"]
    assert ("alignment" in model.projections) == use_msa

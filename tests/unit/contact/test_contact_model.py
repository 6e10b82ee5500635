import pytest
import torch
from torch import nn

from hardfold import backbones
from hardfold.contact.bins import contact_bins, distance_edges
from hardfold.contact.model import ContactModel, CrossFusion, PairFeatures, PairHead
from hardfold.dataset import Dataset

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


@pytest.fixture
def batch_of(build_samples, chain_files, tmp_path):
    def make(model, indices):
        samples = build_samples(chain_files["train"], model, tmp_path)
        return samples.collate([samples[index, 0] for index in indices])

    return make


@pytest.mark.parametrize(("distance", "angle"), zip(DISTANCE_KINDS, ANGLE_KINDS, strict=True))
def test_outputs_have_their_shapes_and_pairs_are_symmetric(options, batch_of, distance, angle):
    model = build(options, distance_loss_type=distance, angle_loss_type=angle)
    batch = batch_of(model, [0, 1])
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


@pytest.mark.parametrize(("distance", "angle"), zip(DISTANCE_KINDS, ANGLE_KINDS, strict=True))
def test_the_alignment_reaches_every_output(options, batch_of, distance, angle):
    """Rows of the alignment other than the query are changed, and nothing else."""
    model = build(
        options, num_layers_to_freeze_msa=0, distance_loss_type=distance, angle_loss_type=angle, main_task="contact"
    )
    for parameter in model.esm_msa.model.layers.parameters():  # untrained, a row hardly hears of the others
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.5)
    batch = batch_of(model, [2, 4])  # chains with three rows
    before = model(batch)
    letters = [model.esm_msa.alphabet.get_idx(letter) for letter in "LAGV"]
    for rows in batch["esm_msa"]:
        rows[1:, 1:] = torch.tensor(letters)[torch.randint(4, rows[1:, 1:].shape)]
    for task, values in model(batch).items():
        moved = (values - before[task]).abs().flatten(1).amax(1) / before[task].std()
        assert (moved > 0.01).all(), (task, moved)


def test_without_an_alignment_nothing_of_it_is_read(options, batch_of):
    model = build(options, use_msa=False)
    batch = batch_of(model, [0, 1])
    assert "esm_msa" not in batch and set(model(batch)) == {"contact", "distance", "angle"}


@pytest.mark.parametrize("change", [{"fusion_num_layers": 2}, {"fusion_num_heads": 4}, {"fusion_dim": 16}])
def test_layers_heads_and_width_of_the_fusion_matter(options, batch_of, change):
    model, other = build({**options}), build({**options}, **change)
    shared = {name: value for name, value in model.state_dict().items() if name in other.state_dict()}
    if "fusion_dim" not in change:  # the same weights wherever both have them
        other.load_state_dict(shared, strict=False)
    batch = batch_of(model, [0, 1])
    before, after = model(batch), other(batch)
    for task, values in before.items():
        assert not torch.allclose(values, after[task], atol=1e-5), task
    assert len(other.fusion.layers) == change.get("fusion_num_layers", 1)
    assert other.heads["contact"].weight.shape[-1] == change.get("fusion_dim", 8)


def test_attention_along_residues_is_that_of_torch(options):
    """Heads are told apart: PyTorch's own multi-head attention with the same weights gives the same."""
    ours = CrossFusion(8, 1, 4).layers[0].along
    theirs = nn.MultiheadAttention(8, 4, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.query_key_value.weight, ours.query_key_value.bias
    theirs.out_proj.weight, theirs.out_proj.bias = ours.out.weight, ours.out.bias
    x, mask = torch.randn(2, 5, 8), torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    normalised = ours.norm(x)
    expected, _ = theirs(normalised, normalised, normalised, key_padding_mask=~mask)
    torch.testing.assert_close(ours(x, mask[:, None, None, :]), expected)


def test_every_stream_and_residue_reaches_every_other():
    fusion = CrossFusion(8, 1, 2).eval()
    streams = torch.randn(1, 3, 5, 8, requires_grad=True)
    fused = fusion(streams, torch.ones(1, 5, dtype=torch.bool), 3)
    fused[0, 0, 0].square().sum().backward()
    assert (streams.grad.abs().sum(-1) > 0).all()


def test_the_streams_that_are_not_wanted_are_left_out_of_the_last_layer_alone():
    fusion, mask = CrossFusion(8, 2, 2).eval(), torch.ones(1, 5, dtype=torch.bool)
    streams = torch.randn(1, 3, 5, 8)
    some, all_of_them = fusion(streams, mask, 2), fusion(streams, mask, 3)
    assert some.shape == (1, 2, 5, 8)
    torch.testing.assert_close(some, all_of_them[:, :2])


def test_padding_changes_nothing(options, chain_files, batch_of):
    model = build(options, max_length=40)
    lengths = Dataset(chain_files["train"]).lengths()
    short, long = lengths.index(min(lengths)), lengths.index(max(lengths))
    alone = model(batch_of(model, [short]))
    padded = model(batch_of(model, [short, long]))
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


def test_gradients_reach_what_is_trained_and_encoders_stay_in_eval_mode(options, batch_of):
    model = build(options, num_layers_to_freeze_msa=1).train()
    assert model.fusion.training and not any(module.training for module in model.esm_msa.modules())
    outputs = model(batch_of(model, [0, 4]))
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


def with_distances(options, **changes):
    return build(
        options, main_task="distance", distance_loss_type="cross_entropy", max_distance=20.0, num_distance_bins=37,
        **changes,
    )  # fmt: skip


@pytest.mark.parametrize("use_contact", [False, True])
def test_with_main_task_distance_a_contact_is_the_bins_below_eight_angstrom(options, batch_of, use_contact):
    model = with_distances(options, use_contact=use_contact)
    outputs = model(batch_of(model, [0, 1]))
    assert ("contact" in outputs) == use_contact
    share = outputs["distance"].double().exp()
    below = [bin for bin, edge in enumerate(distance_edges(20.0, 37)) if edge <= 8.0]
    expected = share[:, below].sum(1) / share.sum(1)
    predicted = model.predict(outputs)["contact"]
    torch.testing.assert_close(predicted.double(), expected)
    certain = torch.full_like(outputs["distance"], -50.0)
    certain[:, contact_bins(20.0, 37) - 1] = 50.0  # 7.5 to 8 angstrom
    assert torch.allclose(model.predict({**outputs, "distance": certain})["contact"], torch.ones(()))


def test_with_main_task_contact_the_distances_do_not_decide(options, batch_of):
    model = with_distances(options)
    outputs = model(batch_of(model, [0, 1]))
    model.options["main_task"] = "contact"
    assert torch.equal(model.predict(outputs)["contact"], outputs["contact"][:, 0].sigmoid())


def with_couplings(options, batch_of):
    """A model that reads couplings, and a batch of two chains with some."""
    model = build(options, use_couplings=False, max_length=40)
    batch = batch_of(model, [0, 1])
    size = batch["mask"].shape[1]
    couplings = torch.randn(2, 1, size, size)
    return build(options, use_couplings=True), {**batch, "pair": (couplings + couplings.transpose(-1, -2)).half()}


def test_pair_features_reach_the_heads_of_pairs_alone(options, batch_of):
    model, batch = with_couplings(options, batch_of)
    before, after = model(batch), model({**batch, "pair": batch["pair"].flip(0)})
    assert torch.equal(before["angle"], after["angle"])
    for task in ("contact", "distance"):
        assert not torch.allclose(before[task], after[task], atol=1e-4)
        assert torch.equal(after[task], after[task].transpose(-1, -2))


def test_pair_features_beyond_a_chain_change_nothing(options, batch_of):
    model, batch = with_couplings(options, batch_of)
    outside = ~(batch["mask"][:, None, :, None] & batch["mask"][:, None, None, :])
    assert outside.any()
    changed = model({**batch, "pair": batch["pair"].masked_fill(outside, 100.0)})
    for task, values in model(batch).items():
        inside = batch["mask"] if task == "angle" else ~outside.expand_as(values)
        torch.testing.assert_close(changed[task][inside], values[inside])


def test_without_pair_features_nothing_is_added(options):
    model = build(options)
    assert model.pair is None and model.heads["contact"].maps is None
    assert not any("maps" in name or name.startswith("pair.") for name in model.state_dict())


def test_attention_maps_are_scaled_and_couplings_are_not(options):
    options |= {"use_esm2_attention": True, "use_couplings": True, "num_layers_to_freeze_esm2": 1}
    model = build(options)  # two layers of two heads; the maps of the frozen layer and the couplings come with a batch
    assert model.pair.scale.flatten().tolist() == [100, 100, 1, 100, 100]
    assert "pair.scale" not in model.state_dict()


def test_pair_features_see_neighbours():
    features = PairFeatures(1, 0)
    maps, mask = torch.zeros(1, 1, 12, 12), torch.ones(1, 12, dtype=torch.bool)
    before = features(maps, mask)
    maps[0, 0, 6, 6] = 1.0
    moved = (features(maps, mask) - before).abs().sum(1)[0] > 0
    assert moved[2:11, 2:11].all() and not moved[:2].any() and not moved[11:].any()

"""Encoders against fair-esm's own forward: fused attention, frozen and trained parts, attention maps, LoRA."""

import pytest
import torch
from torch import nn

from hardfold import backbones
from hardfold.contact.encoders import ENCODERS
from hardfold.training import load_trained_state, trained_state

BUILDERS = {"esm2": backbones.build_esm2, "esm_msa": backbones.build_esm_msa}
LENGTHS = [21, 9, 14]
ROWS = [3, 1, 5]
LAYERS = 3
CLOSE = {"rtol": 0, "atol": 1e-5}


def build(name, frozen, **options):
    """An encoder whose weights are large enough for attention to be far from uniform, and fair-esm's model as it is."""
    torch.manual_seed(0)
    model, alphabet = BUILDERS[name](LAYERS, 8, 2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    reference = BUILDERS[name](LAYERS, 8, 2)[0].eval()
    reference.load_state_dict(model.state_dict())
    return ENCODERS[name](model, alphabet, frozen, **options), reference


def draw_tokens(name):
    """A padded batch (B, T) of sequences, or a list of alignments (R, T); and the mask (B, L) of residues."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    if name == "esm_msa":
        tokens = [torch.randint(4, 31, (r, n + 1), generator=generator) for r, n in zip(ROWS, LENGTHS, strict=True)]
        for rows in tokens:
            rows[:, 0] = 0
        return tokens, mask
    tokens = torch.full((3, max(LENGTHS) + 2), 1)
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[0], row[1 + length] = 0, 2
        row[1 : 1 + length] = torch.randint(4, 31, (length,), generator=generator)
    return tokens, mask


def one_by_one(name, tokens):
    """Each chain's tokens without padding, (T,) or (R, T)."""
    return tokens if name == "esm_msa" else [row[: length + 2] for row, length in zip(tokens, LENGTHS, strict=True)]


def expected(name, reference, tokens):
    """fair-esm's last features of the residues, chain by chain without padding."""
    found = []
    for chain, length in zip(one_by_one(name, tokens), LENGTHS, strict=True):
        with torch.no_grad():
            x = reference(chain[None], repr_layers=[LAYERS])["representations"][LAYERS][0]
        found.append((x[0] if name == "esm_msa" else x)[1 : 1 + length])
    return found


def stored(name, encoder, tokens):
    """What the data side makes of `frozen_part`: padded, or a list of alignments."""
    parts = [encoder.frozen_part(chain) for chain in one_by_one(name, tokens)]
    if name == "esm_msa" and not encoder.is_frozen:
        return parts
    return nn.utils.rnn.pad_sequence(parts, batch_first=True)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("attention", [False, True])
def test_the_encoder_equals_fair_esm_whatever_the_padding(name, attention):
    encoder, reference = build(name, 0, attention=attention)
    tokens, mask = draw_tokens(name)
    features, maps = encoder(tokens, mask)
    assert (maps is not None) == attention
    for b, true in enumerate(expected(name, reference, tokens)):
        torch.testing.assert_close(features[b, : len(true)], true, **CLOSE)


def test_fused_attention_gives_fair_esms_gradients():
    encoder, reference = build("esm2", 0)
    tokens, mask = draw_tokens("esm2")
    encoder(tokens, mask)[0][mask].square().sum().backward()
    reference(tokens, repr_layers=[LAYERS])["representations"][LAYERS][:, 1:-1][mask].square().sum().backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in encoder.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-4, msg=name)


def test_maps_are_not_computed_unless_they_are_asked_for(monkeypatch):
    encoder, _ = build("esm2", 0)
    monkeypatch.setattr("esm.multihead_attention.utils_softmax", lambda *_, **__: pytest.fail("not fused"))
    encoder(*draw_tokens("esm2"))


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("frozen", range(LAYERS + 1))
def test_from_frozen_features_on_it_is_the_whole_encoder(name, frozen):
    encoder, reference = build(name, frozen)
    tokens, mask = draw_tokens(name)
    for inputs in (stored(name, encoder, tokens), tokens):
        features, _ = encoder(inputs, mask)
        assert features.shape == (3, max(LENGTHS), 8)
        assert features.requires_grad == (frozen < LAYERS)
        for b, true in enumerate(expected(name, reference, tokens)):
            torch.testing.assert_close(features[b, : len(true)], true, **CLOSE)


@pytest.mark.parametrize("name", BUILDERS)
def test_each_layer_runs_in_one_part_only(name):
    encoder, _ = build(name, 1)
    tokens, mask = draw_tokens(name)
    runs = []
    for number, layer in enumerate(encoder.model.layers):
        layer.register_forward_pre_hook(lambda *_, number=number: runs.append(number))
    features = stored(name, encoder, tokens)
    assert set(runs) == {0}
    runs.clear()
    encoder(features, mask)
    assert set(runs) == {1, 2}


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("frozen", range(LAYERS + 1))
def test_all_maps_together_give_fair_esms_contacts(name, frozen):
    encoder, reference = build(name, frozen, attention=True)
    tokens, mask = draw_tokens(name)
    _, trained = encoder(stored(name, encoder, tokens), mask)
    for b, (chain, length) in enumerate(zip(one_by_one(name, tokens), LENGTHS, strict=True)):
        maps = [encoder.frozen_maps(chain)] if frozen else []
        if trained is not None:
            assert not trained[b, :, length:].any() and not trained[b, :, :, length:].any()
            maps.append(trained[b, :, :length, :length])
        maps = torch.cat(maps)
        assert len(maps) == encoder.map_channels == LAYERS * 2
        assert torch.equal(maps, maps.transpose(-1, -2))
        with torch.no_grad():
            contacts = reference.contact_head.regression(maps.movedim(0, -1))[..., 0].sigmoid()
            torch.testing.assert_close(contacts, reference.predict_contacts(chain[None])[0], **CLOSE)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_lora_trains_the_linears_of_the_layers_that_are_not_frozen(name, first):
    encoder, reference = build(name, first, lora_rank=2, lora_alpha=4)
    linears = {
        f"layers.{number}.{linear}"
        for number in range(first, LAYERS)
        for linear, module in reference.layers[number].named_modules()
        if isinstance(module, nn.Linear)
    }
    assert len(linears) == (LAYERS - first) * {"esm2": 6, "esm_msa": 10}[name]
    trained = {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}
    assert trained == {f"{linear}.lora_{half}.default.weight" for linear in linears for half in "AB"}


@pytest.mark.parametrize("name", BUILDERS)
def test_lora_begins_at_the_untouched_encoder_and_leaves_its_weights_alone(name):
    encoder, reference = build(name, 1, lora_rank=2, lora_alpha=4)
    tokens, mask = draw_tokens(name)
    plain, _ = build(name, 1)
    begin = encoder(stored(name, encoder, tokens), mask)[0]
    assert torch.equal(begin, plain(stored(name, plain, tokens), mask)[0])
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(2):  # the first step moves B alone, as it is zero
        optimizer.zero_grad()
        encoder(stored(name, encoder, tokens), mask)[0][mask].square().sum().backward()
        optimizer.step()
    after = encoder(stored(name, encoder, tokens), mask)[0]
    assert not torch.allclose(after, begin, atol=1e-3)
    state = {key.replace(".base_layer", ""): value for key, value in encoder.model.state_dict().items()}
    assert all(torch.equal(state[key], value) for key, value in reference.state_dict().items())

    other, _ = build(name, 1, lora_rank=2, lora_alpha=4)
    load_trained_state(other, trained_state(encoder))
    assert torch.equal(other(stored(name, other, tokens), mask)[0], after)


def test_lora_alpha_scales_what_lora_adds():
    features = []
    for alpha in (2, 4):
        encoder, _ = build("esm2", 2, lora_rank=2, lora_alpha=alpha)
        torch.manual_seed(2)
        nn.init.normal_(encoder.model.layers[2].fc2.lora_B["default"].weight)
        tokens, mask = draw_tokens("esm2")
        encoder.model.emb_layer_norm_after = nn.Identity()
        plain, _ = build("esm2", 2)
        plain.model.emb_layer_norm_after = nn.Identity()
        features.append((encoder(tokens, mask)[0] - plain(tokens, mask)[0])[mask])
    torch.testing.assert_close(features[1], 2 * features[0], rtol=1e-3, atol=1e-3)


def test_options_that_leave_nothing_to_adapt_or_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="lora_rank_esm2 is 2, but all 3 layers are frozen"):
        build("esm2", 3, lora_rank=2)
    with pytest.raises(ValueError, match="num_layers_to_freeze_msa is 4; the model has 3 layers"):
        build("esm_msa", 4)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("attention", [False, True])
def test_the_encoder_runs_in_bf16(name, attention):
    encoder, reference = build(name, 0, attention=attention)
    tokens, mask = draw_tokens(name)
    with torch.autocast("cpu", torch.bfloat16):
        features, maps = encoder(tokens, mask)
    assert maps is None or maps.dtype == torch.float32
    for b, true in enumerate(expected(name, reference, tokens)):
        assert (features[b, : len(true)] - true).abs().mean() < 0.05 * true.abs().mean()


def test_the_rotary_embedding_stays_exact_in_bf16():
    encoder, _ = build("esm2", 0)
    rotary = encoder.model.layers[0].self_attn.rot_emb
    zeros = torch.zeros(1, 900, 4)
    rotary(zeros, zeros)
    exact = rotary._cos_cached.clone()
    rotary._seq_len_cached = None
    with torch.autocast("cpu", torch.bfloat16):
        rotary(zeros, zeros)
    assert torch.equal(rotary._cos_cached, exact)

"""The pretrained encoders: frozen layers, which are run once for all experiments, and the layers trained from there on.

T tokens (L + BOS, + EOS where the alphabet has one), H heads, P layers x heads attention maps.
"""

from collections.abc import Mapping, Sequence

import torch
from esm.multihead_attention import MultiheadAttention
from torch import Tensor, nn
from torch.nn import functional

_UNMASKED = 1 - 0.15 * 0.8  # ESM-2 scales its embeddings by the share of tokens that training did not mask


class Encoder(nn.Module):
    """A fair-esm model in two parts: `frozen_part`, its first `frozen` layers, and `forward`, the layers after them.

    Frozen layers get no gradient, nor do then the embeddings; 0 trains all, the number of layers nothing. With
    `lora_rank` the other layers are trained by LoRA instead of in full. The language-model and contact heads are never
    trained here: nothing uses them. Dropout stays off. `attention` asks for attention maps.
    """

    kind: str  # as the options name it
    weights = ""  # sha256 of the checkpoint; empty for a model built in memory

    def __init__(
        self, model: nn.Module, alphabet, frozen: int, lora_rank: int = 0, lora_alpha: float = 1, attention=False
    ):
        super().__init__()
        if frozen > model.num_layers:
            raise ValueError(f"num_layers_to_freeze_{self.kind} is {frozen}; the model has {model.num_layers} layers")
        self.model, self.alphabet, self.frozen, self.attention = model, alphabet, frozen, attention
        self.is_frozen = frozen == model.num_layers
        if lora_rank and self.is_frozen:
            raise ValueError(f"lora_rank_{self.kind} is {lora_rank}, but all {frozen} layers are frozen")
        self.ends = int(alphabet.prepend_bos), int(alphabet.append_eos)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(not lora_rank and _is_trained(name, frozen, model.num_layers))
        if lora_rank:
            _add_lora(model, frozen, lora_rank, lora_alpha)
        self.eval()

    @property
    def dim(self) -> int:
        return self.model.embed_tokens.embedding_dim

    @property
    def map_channels(self) -> int:
        """Attention maps of all layers, frozen ones included; 0 where they are not asked for."""
        return self.model.num_layers * self.heads if self.attention else 0

    def train(self, mode: bool = True):
        """Stay in eval mode: dropout inside a pretrained encoder is off while its last layers are tuned, too."""
        return super().train(False)

    @torch.no_grad()
    def frozen_part(self, tokens: Tensor) -> Tensor:
        """One chain's tokens, (T,) or (R, T) -> what `forward` goes on from: (T, D) or (R, T, D) of the last frozen
        layer, or, where all are frozen, the features of the residues (L, D)."""
        x, _ = self._run(self._embed(tokens[None]), range(self.frozen))
        return (self._residues(x) if self.is_frozen else x)[0]

    @torch.no_grad()
    def frozen_maps(self, tokens: Tensor) -> Tensor:
        """One chain's tokens -> the attention maps of the frozen layers, (P, L, L), as `forward` gives the others'."""
        return self._run(self._embed(tokens[None]), range(self.frozen), attention=True)[1][0]

    def _encode(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens or what `frozen_part` gives, of a batch -> (features of the residues (B, L, D), maps or None)."""
        if not inputs.is_floating_point():
            with torch.set_grad_enabled(self.frozen == 0 and torch.is_grad_enabled()):
                inputs, _ = self._run(self._embed(inputs), range(self.frozen), mask)
        x, maps = self._run(inputs, range(self.frozen, self.model.num_layers), mask, self.attention)
        return self._residues(x), maps

    def _cut(self, x: Tensor, dim: int) -> Tensor:
        """Without the tokens of both ends."""
        before, after = self.ends
        return x.narrow(dim, before, x.shape[dim] - before - after)

    def _map(self, weights: Tensor, mask: Tensor | None = None) -> Tensor:
        """(H, B, T, T) -> (B, H, L, L) float32: symmetrised, average product corrected, as in the ESM contact head."""
        maps = self._cut(self._cut(weights.transpose(0, 1).float(), -1), -2)
        if mask is not None:
            maps = maps * (mask[:, None, :, None] & mask[:, None, None, :])
        maps = maps + maps.transpose(-1, -2)
        sums = maps.sum(-1, keepdim=True)
        return maps - sums * sums.transpose(-1, -2) / sums.sum(-2, keepdim=True)


class SequenceEncoder(Encoder):
    """ESM-2, with fused attention where no map is asked for."""

    kind = "esm2"
    max_residues = None  # its positions are relative

    def __init__(self, model, *arguments, **options):
        super().__init__(model, *arguments, **options)
        for layer in model.layers:
            layer.self_attn.__class__ = FusedAttention  # the same parameters, another forward

    @property
    def heads(self) -> int:
        return self.model.attention_heads

    def forward(self, inputs: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, T), or features (B, T, D), (B, L, D) of `frozen_part` -> ((B, L, D), maps (B, P, L, L) or None).

        mask (B, L): residues; all else is 0. The maps are those of the layers that run here.
        """
        if self.is_frozen and inputs.is_floating_point():
            return inputs, None
        features, maps = self._encode(inputs, mask)
        return features * mask[..., None], maps

    def _embed(self, tokens: Tensor) -> Tensor:
        x = self.model.embed_tokens(tokens)
        x = x * _UNMASKED if self.model.token_dropout else x
        return x * (tokens != self.alphabet.padding_idx)[..., None]

    def _run(self, x, layers: range, mask=None, attention=False):
        mask = None if mask is None or mask.all() else mask
        padding = None
        if mask is not None:
            padding = torch.arange(x.shape[1], device=x.device) >= (mask.sum(1) + sum(self.ends))[:, None]
        maps = []
        x = x.transpose(0, 1)  # (T, B, D)
        for number in layers:
            x, weights = self.model.layers[number](x, self_attn_padding_mask=padding, need_head_weights=attention)
            if attention:
                maps.append(self._map(weights, mask))
            if number == self.model.num_layers - 1:
                x = self.model.emb_layer_norm_after(x)
        return x.transpose(0, 1), torch.cat(maps, 1) if maps else None

    def _residues(self, x: Tensor) -> Tensor:
        return self._cut(x, 1)


class AlignmentEncoder(Encoder):
    """ESM-MSA-1b: the features of the query row, the maps of its row attention."""

    kind = "msa"

    @property
    def heads(self) -> int:
        return self.model.args.attention_heads

    @property
    def max_residues(self) -> int:
        return self.model.args.max_positions - sum(self.ends)

    def forward(self, inputs: Tensor | Sequence[Tensor], mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """A list of tokens (R, T) or features (R, T, D), a chain each, or features (B, L, D) where all layers are
        frozen -> ((B, L, D), maps (B, P, L, L) or None).

        One alignment at a time: fair-esm scales its row attention by the padded number of rows.
        """
        if isinstance(inputs, Tensor):
            return inputs, None
        features, maps = zip(*(self._encode(rows[None]) for rows in inputs), strict=True)
        size = mask.shape[1]
        features = torch.cat([functional.pad(part, (0, 0, 0, size - part.shape[1])) for part in features])
        if maps[0] is None:
            return features, None
        return features, torch.cat([functional.pad(part, (0, size - part.shape[-1]) * 2) for part in maps])

    def _embed(self, tokens: Tensor) -> Tensor:
        model = self.model
        x = model.embed_tokens(tokens) + model.embed_positions(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        if model.msa_position_embedding is not None:
            x = x + model.msa_position_embedding[:, : tokens.shape[1]]
        return model.emb_layer_norm_before(x)

    def _run(self, x, layers: range, mask=None, attention=False):
        maps = []
        x = x.permute(1, 2, 0, 3)  # (B, R, T, D) -> (R, T, B, D)
        for number in layers:
            x = self.model.layers[number](x, need_head_weights=attention)
            if attention:
                x, _, weights = x
                maps.append(self._map(weights))
            if number == self.model.num_layers - 1:
                x = self.model.emb_layer_norm_after(x)
        return x.permute(2, 0, 1, 3), torch.cat(maps, 1) if maps else None

    def _residues(self, x: Tensor) -> Tensor:
        return self._cut(x[:, 0], 1)


ENCODERS = {"esm2": SequenceEncoder, "esm_msa": AlignmentEncoder}  # by their names in a batch


def build_encoder(name: str, loaded: tuple, options: Mapping) -> Encoder:
    """The encoder `name` on fair-esm's (model, alphabet), by an experiment's options."""
    encoder = ENCODERS[name]
    return encoder(
        *loaded,
        frozen=options[f"num_layers_to_freeze_{encoder.kind}"],
        lora_rank=options[f"lora_rank_{encoder.kind}"],
        lora_alpha=options["lora_alpha"],
        attention=options[f"use_{encoder.kind}_attention"],
    )


class FusedAttention(MultiheadAttention):
    """fair-esm's attention through `scaled_dot_product_attention`, unless the maps of the heads are asked for."""

    def forward(self, query, key, value, key_padding_mask=None, need_head_weights=False, **others):
        """query, key, value (T, B, D), key_padding_mask (B, T) -> (T, B, D), None in the place of the maps."""
        if need_head_weights:
            return super().forward(
                query, key, value, key_padding_mask=key_padding_mask, need_head_weights=True, **others
            )
        parts = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        # (T, B, D) -> (B H, T, D / H), as the rotary embedding wants them
        query, key, value = (x.unflatten(-1, (self.num_heads, -1)).flatten(1, 2).transpose(0, 1) for x in parts)
        query, key = self.rot_emb(query, key)
        heads = (x.unflatten(0, (-1, self.num_heads)) for x in (query, key, value))
        mask = None if key_padding_mask is None else ~key_padding_mask[:, None, None]
        x = functional.scaled_dot_product_attention(*heads, attn_mask=mask)
        return self.out_proj(x.permute(2, 0, 1, 3).flatten(2)), None


def _is_trained(name: str, frozen: int, layers: int) -> bool:
    if frozen == layers or name.startswith(("lm_head.", "contact_head.")):
        return False
    if name.startswith("layers."):
        return int(name.split(".")[1]) >= frozen
    return frozen == 0 or name.startswith("emb_layer_norm_after.")


def _add_lora(model: nn.Module, first: int, rank: int, alpha: float) -> None:
    """LoRA (Hu et al. 2021) on every linear layer from the layer `first` on; B starts at zero."""
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds to import, and few runs use it

    linears = [
        f"layers.{number}.{name}"
        for number in range(first, model.num_layers)
        for name, module in model.layers[number].named_modules()
        if isinstance(module, nn.Linear)
    ]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=linears), model)
    expected = {f"{name}.lora_{half}.default.weight" for name in linears for half in "AB"}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if wrong := expected ^ trained:
        raise ValueError(f"trained though they should not be, or the reverse: {', '.join(sorted(wrong))}")

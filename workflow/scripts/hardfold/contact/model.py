"""The contact track's model: ESM-2 and ESM-MSA-1b, CrossFusion, and a head a task.

Axial attention after the MSA Transformer (Rao et al. 2021), streams in the place of alignment rows.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardfold.contact.losses import angle_centres, distance_centres

TASKS = ("contact", "distance", "angle")
_FAR = 64  # separations from here on share one bias


class Encoder(nn.Module):
    """A fair-esm model as (tokens) -> features of the last layer by residue; of an alignment, those of the query row.

    `options[freeze]` counts the first layers that get no gradient, nor do then the embeddings; 0 trains all, the
    number of layers nothing. The language-model and contact heads are never trained here: nothing uses them.
    """

    def __init__(self, model: nn.Module, alphabet, options: Mapping, freeze: str):
        super().__init__()
        frozen_layers = options[freeze]
        if frozen_layers > model.num_layers:
            raise ValueError(f"{freeze} is {frozen_layers}; the model has {model.num_layers} layers")
        self.model, self.alphabet = model, alphabet
        self.is_frozen = frozen_layers == model.num_layers
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(_is_trained(name, frozen_layers, model.num_layers))
        self.eval()

    @property
    def dim(self) -> int:
        return self.model.embed_tokens.embedding_dim

    def train(self, mode: bool = True):
        """Stay in eval mode: dropout inside a pretrained encoder is off while its last layers are tuned, too."""
        return super().train(False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, L + ends) or (B, R, L + ends) -> (B, L, D)."""
        last = self.model.num_layers
        features = self.model(tokens, repr_layers=[last])["representations"][last]
        features = features[:, 0] if tokens.dim() == 3 else features
        end = features.shape[1] - int(self.alphabet.append_eos)
        return features[:, int(self.alphabet.prepend_bos) : end]


def _is_trained(name: str, frozen: int, layers: int) -> bool:
    if frozen == layers or name.startswith(("lm_head.", "contact_head.")):
        return False
    if name.startswith("layers."):
        return int(name.split(".")[1]) >= frozen
    return frozen == 0 or name.startswith("emb_layer_norm_after.")


class CrossFusion(nn.Module):
    """Streams (B, S, L, D) attend to each other at each residue, then each along its residues, layer after layer."""

    def __init__(self, dim: int, layers: int, heads: int):
        super().__init__()
        self.layers = nn.ModuleList(CrossFusionLayer(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, streams: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            streams = layer(streams, mask)
        return self.norm(streams)


class CrossFusionLayer(nn.Module):
    """Attention across streams, attention along residues, a feed-forward part; normalised first, residual each."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.across = Attention(dim, heads)
        self.along = Attention(dim, heads)
        widen, narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.feed_forward = nn.Sequential(nn.LayerNorm(dim), widen, nn.GELU(), narrow)

    def forward(self, streams: Tensor, mask: Tensor) -> Tensor:
        streams = streams + self.across(streams.transpose(1, 2)).transpose(1, 2)  # over S within (B, L, S, D)
        streams = streams + self.along(streams, mask[:, None, None, None, :])  # over L within (B, S, L, D)
        return streams + self.feed_forward(streams)


class Attention(nn.Module):
    """Multi-head self-attention over the last but one dimension of (..., N, D); mask (..., N) broadcast over heads."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        parts = self.query_key_value(self.norm(x)).unflatten(-1, (3, self.heads, -1))  # (..., N, 3, heads, D / heads)
        query, key, value = (part.transpose(-3, -2) for part in parts.unbind(-3))
        x = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(x.transpose(-3, -2).flatten(-2))


class PairHead(nn.Module):
    """(B, L, D) -> symmetric (B, K, L, L): nn.Bilinear factorised, (x W) x^T / D + b, with b by separation |i-j|.

    Without the division one Adam step on W moves every output by about the learning rate times D squared.
    """

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, dim, dim) / math.sqrt(dim))
        self.bias = nn.Parameter(torch.zeros(channels, _FAR + 1))

    def forward(self, x: Tensor) -> Tensor:
        pairs = (x[:, None] @ self.weight) @ x[:, None].transpose(-1, -2) / x.shape[-1]
        position = torch.arange(x.shape[1], device=x.device)
        separation = (position[:, None] - position).abs().clamp(max=_FAR)
        return (pairs + pairs.transpose(-1, -2)) / 2 + self.bias[:, separation]


class AngleHead(nn.Module):
    """(B, L, D) -> (B, L, 2, K): K values for phi and psi each."""

    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, 2 * channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).unflatten(-1, (2, -1))


class ContactModel(nn.Module):
    """ESM-2's features, projected once a task, and the alignment's features, fused, then a head a task."""

    def __init__(self, esm2: tuple, esm_msa: tuple | None, options: Mapping):
        """esm2, esm_msa: (model, alphabet) of fair-esm; esm_msa is None without `use_msa`. options: an experiment's."""
        super().__init__()
        self.options = dict(options)
        self.tasks = [task for task in TASKS if options[f"use_{task}"]]
        self.esm2 = Encoder(*esm2, options, "num_layers_to_freeze_esm2")
        self.esm_msa = Encoder(*esm_msa, options, "num_layers_to_freeze_msa") if esm_msa else None
        dim = options["fusion_dim"]
        self.projections = nn.ModuleDict({task: _projection(self.esm2.dim, dim) for task in self.tasks})
        if self.esm_msa:
            self.projections["alignment"] = _projection(self.esm_msa.dim, dim)
        self.fusion = CrossFusion(dim, options["fusion_num_layers"], options["fusion_num_heads"])
        self.heads = nn.ModuleDict({task: self._head(task, dim) for task in self.tasks})

    def _head(self, task: str, dim: int) -> nn.Module:
        binned = task != "contact" and self.options[f"{task}_loss_type"] == "cross_entropy"
        if task == "angle":
            return AngleHead(dim, self.options["num_angle_bins"] if binned else 2)
        return PairHead(dim, self.options["num_distance_bins"] if binned else 1)

    def forward(self, batch: Mapping) -> dict[str, Tensor]:
        """Raw outputs by task: contact (B, 1, L, L), distance (B, 1 or K, L, L), angle (B, L, 2, 2 or K).

        batch: mask (B, L); esm2, the tokens (B, L + ends) or the features (B, L, D) of a frozen encoder; with an
        alignment esm_msa, features (B, L, D) or a list of tokens (1, R, L + ends), one chain each.
        """
        sequence = batch["esm2"] if batch["esm2"].is_floating_point() else self.esm2(batch["esm2"])
        streams = [self.projections[task](sequence) for task in self.tasks]
        if self.esm_msa:
            streams.append(self.projections["alignment"](self._encode_alignments(batch)))
        fused = self.fusion(torch.stack(streams, dim=1), batch["mask"])
        return {task: self.heads[task](fused[:, s]) for s, task in enumerate(self.tasks)}

    def _encode_alignments(self, batch):
        if isinstance(batch["esm_msa"], Tensor):
            return batch["esm_msa"]
        # One alignment at a time: fair-esm scales its row attention by the padded number of rows.
        features = [self.esm_msa(tokens)[0] for tokens in batch["esm_msa"]]
        return torch.stack([functional.pad(f, (0, 0, 0, batch["mask"].shape[1] - len(f))) for f in features])

    def predict(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw outputs -> contact probability (B, L, L), distance (B, L, L) in angstrom, angle (B, L, 2) in radians.

        From bins: the mean distance, and the mean direction.
        """
        predicted = {"contact": outputs["contact"][:, 0].sigmoid()}
        if (distance := outputs.get("distance")) is not None:
            limit, bins = self.options["max_distance"], distance.shape[1]
            if bins == 1:
                predicted["distance"] = distance[:, 0].sigmoid() * limit
            else:
                centres = distance_centres(limit, bins).to(distance)
                predicted["distance"] = torch.einsum("bkij,k->bij", distance.softmax(1), centres)
        if (angle := outputs.get("angle")) is not None:
            if self.options["angle_loss_type"] == "cross_entropy":
                centres = angle_centres(angle.shape[-1]).to(angle)
                angle = angle.softmax(-1) @ torch.stack([centres.cos(), centres.sin()], dim=-1)
            predicted["angle"] = torch.atan2(angle[..., 1], angle[..., 0])
        return predicted


def _projection(features: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(features), nn.Linear(features, dim))

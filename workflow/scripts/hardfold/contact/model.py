"""The contact track's model: ESM-2 and ESM-MSA-1b, CrossFusion, and a head a task.

Axial attention after the MSA Transformer (Rao et al. 2021), streams in the place of alignment rows.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from hardfold.contact.bins import angle_centres, contact_bins, distance_centres
from hardfold.contact.encoders import Encoder, build_encoder

TASKS = ("contact", "distance", "angle")
_FAR = 64  # separations from here on share one bias
_PAIR_DIM = 16  # features of a pair, where maps are given
_MAP_SCALE = 100.0  # attention maps, corrected by their average product, have values of about 0.01


class CrossFusion(nn.Module):
    """Streams (B, S, L, D) attend to each other at each residue, then each along its residues, layer after layer. The
    first `wanted` of them come out: the last layer goes on with those alone."""

    def __init__(self, dim: int, layers: int, heads: int):
        super().__init__()
        self.layers = nn.ModuleList(CrossFusionLayer(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, streams: Tensor, mask: Tensor, wanted: int) -> Tensor:
        for number, layer in enumerate(self.layers, start=1):
            streams = layer(streams, mask, wanted if number == len(self.layers) else streams.shape[1])
        return self.norm(streams)


class CrossFusionLayer(nn.Module):
    """Attention across streams, attention along residues, a feed-forward part; normalised first, residual each."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.across = Attention(dim, heads)
        self.along = Attention(dim, heads)
        widen, narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.feed_forward = nn.Sequential(nn.LayerNorm(dim), widen, nn.GELU(), narrow)

    def forward(self, streams: Tensor, mask: Tensor, wanted: int) -> Tensor:
        streams = streams + self.across(streams.transpose(1, 2)).transpose(1, 2)  # over S within (B, L, S, D)
        streams = streams[:, :wanted]
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


class PairFeatures(nn.Module):
    """Maps (B, P, L, L) -> features of pairs (B, F, L, L) by two convolutions: contacts come in patterns of neighbours.

    All maps are of attention but the one at `couplings`, which is standardised. What is beyond a chain does not count.
    """

    def __init__(self, maps: int, couplings: int | None):
        super().__init__()
        scale = torch.full((maps, 1, 1), _MAP_SCALE)
        if couplings is not None:
            scale[couplings] = 1
        self.register_buffer("scale", scale, persistent=False)
        self.layers = nn.ModuleList(
            [nn.Conv2d(maps, _PAIR_DIM, 1), *(nn.Conv2d(_PAIR_DIM, _PAIR_DIM, 5, padding=2) for _ in range(2))]
        )

    def forward(self, maps: Tensor, mask: Tensor) -> Tensor:
        inside = mask[:, None, :, None] & mask[:, None, None, :]
        x = maps * self.scale
        for layer in self.layers:
            x = functional.gelu(layer(x)) * inside
        return x


class PairHead(nn.Module):
    """(B, L, D) -> symmetric (B, K, L, L): nn.Bilinear factorised, (x W) x^T / D + b, with b by separation |i-j|.

    Without the division one Adam step on W moves every output by about the learning rate times D squared. With `maps`
    a linear function of `PairFeatures` is added.
    """

    def __init__(self, dim: int, channels: int, maps: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, dim, dim) / math.sqrt(dim))
        self.bias = nn.Parameter(torch.zeros(channels, _FAR + 1))
        self.maps = nn.Conv2d(_PAIR_DIM, channels, 1, bias=False) if maps else None

    def forward(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        # W is divided, and by the 2 of the mean below, not the many pairs.
        pairs = (x[:, None] @ (self.weight / (2 * x.shape[-1]))) @ x[:, None].transpose(-1, -2)
        if self.maps:
            pairs = pairs + self.maps(features) / 2
        position = torch.arange(x.shape[1], device=x.device)
        separation = (position[:, None] - position).abs().clamp(max=_FAR)
        return pairs + pairs.transpose(-1, -2) + self.bias[:, separation]


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
        self.esm2 = build_encoder("esm2", esm2, options)
        self.esm_msa = build_encoder("esm_msa", esm_msa, options) if esm_msa else None
        maps = sum(encoder.map_channels for encoder in self.encoders().values())
        self.pair_channels = maps + int(options["use_couplings"])
        dim = options["fusion_dim"]
        self.projections = nn.ModuleDict({task: _projection(self.esm2.dim, dim) for task in self.tasks})
        if self.esm_msa:
            self.projections["alignment"] = _projection(self.esm_msa.dim, dim)
        self.fusion = CrossFusion(dim, options["fusion_num_layers"], options["fusion_num_heads"])
        self.pair = PairFeatures(self.pair_channels, self._couplings()) if self.pair_channels else None
        self.heads = nn.ModuleDict({task: self._head(task, dim) for task in self.tasks})

    def _head(self, task: str, dim: int) -> nn.Module:
        binned = task != "contact" and self.options[f"{task}_loss_type"] == "cross_entropy"
        if task == "angle":
            return AngleHead(dim, self.options["num_angle_bins"] if binned else 2)
        return PairHead(dim, self.options["num_distance_bins"] if binned else 1, maps=self.pair is not None)

    def _couplings(self) -> int | None:
        """Their place among the maps, see `encode`: after the attention maps of frozen layers."""
        if not self.options["use_couplings"]:
            return None
        return sum(encoder.frozen * encoder.heads for encoder in self.encoders().values() if encoder.attention)

    def forward(self, batch: Mapping) -> dict[str, Tensor]:
        """Raw outputs by task: contact (B, 1, L, L), distance (B, 1 or K, L, L), angle (B, L, 2, 2 or K).

        batch: as Samples.collate makes it; `ids` and the truth are not read.
        """
        sequence, alignment, pair = self.encode(batch)
        streams = [self.projections[task](sequence) for task in self.tasks]
        if self.esm_msa:
            streams.append(self.projections["alignment"](alignment))
        fused = self.fusion(torch.stack(streams, dim=1), batch["mask"], len(self.tasks))
        outputs, features = {}, None if self.pair is None else self.pair(pair, batch["mask"])
        for s, (task, head) in enumerate(self.heads.items()):
            outputs[task] = head(fused[:, s]) if task == "angle" else head(fused[:, s], features)
        return outputs

    def encoders(self) -> dict[str, Encoder]:
        """The encoders in use, by their names in a batch."""
        return {"esm2": self.esm2} | ({"esm_msa": self.esm_msa} if self.esm_msa else {})

    def encode(self, batch: Mapping) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(features (B, L, D) of the sequence, those of the alignment or None, pair features (B, P, L, L) or None)."""
        sequence, maps = self.esm2(batch["esm2"], batch["mask"])
        alignment, row_maps = self.esm_msa(batch["esm_msa"], batch["mask"]) if self.esm_msa else (None, None)
        pair = [part.float() for part in (batch.get("pair"), maps, row_maps) if part is not None]
        return sequence, alignment, torch.cat(pair, dim=1) if pair else None

    def predict(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Raw outputs -> contact probability (B, L, L), distance (B, L, L) in angstrom, angle (B, L, 2) in radians.

        From bins: the mean distance, and the mean direction. With main_task distance a contact's probability is that of
        the bins below 8 angstrom. Outputs of half precision are widened first.
        """
        outputs = {task: values.float() for task, values in outputs.items()}
        if self.options["main_task"] == "distance":
            below = contact_bins(self.options["max_distance"], self.options["num_distance_bins"])
            predicted = {"contact": outputs["distance"].softmax(1)[:, :below].sum(1)}
        else:
            predicted = {"contact": outputs["contact"][:, 0].sigmoid()}
        if (distance := outputs.get("distance")) is not None:
            limit, bins = self.options["max_distance"], distance.shape[1]
            if bins == 1:
                predicted["distance"] = distance[:, 0].sigmoid() * limit
            else:
                centres = distance.new_tensor(distance_centres(limit, bins))
                predicted["distance"] = torch.einsum("bkij,k->bij", distance.softmax(1), centres)
        if (angle := outputs.get("angle")) is not None:
            if self.options["angle_loss_type"] == "cross_entropy":
                centres = angle.new_tensor(angle_centres(angle.shape[-1]))
                angle = angle.softmax(-1) @ torch.stack([centres.cos(), centres.sin()], dim=-1)
            predicted["angle"] = torch.atan2(angle[..., 1], angle[..., 0])
        return predicted


def _projection(features: int, dim: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(features), nn.Linear(features, dim))

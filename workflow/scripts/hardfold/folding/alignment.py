"""Arm disjoint_alignment: an adapter through which a folding model that reads one sequence reads its alignment too.

B batch, L residues.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import EsmForProteinFolding

from hardfold import tables
from hardfold.alignment import WIDTH
from hardfold.batches import pad
from hardfold.contact.embeddings import Embeddings
from hardfold.contact.keys import COUPLINGS, PROFILE

NAME = "alignment"  # the adapter as a module of the trunk


def read_donors(table: Path, seed: int) -> dict[str, str]:
    """Target -> the target whose alignment it is given by the run of this seed, out of `swapped`'s table."""
    rows = tables.read(table, ["target", "seed", "donor"])
    return dict(rows.loc[rows["seed"] == str(seed), ["target", "donor"]].to_numpy())


class AlignmentFeatures:
    """What the adapter reads of the chains of a data set; of its `donor` where a chain has one."""

    def __init__(self, profiles: Path, couplings: Path, chains: Path, donors: Mapping[str, str] | None = None):
        """Raises EmbeddingsError unless both files were made of the alignments of `chains`."""
        self.couplings = Embeddings(couplings, COUPLINGS, "", chains)
        self.profiles = Embeddings(profiles, PROFILE, "", chains, letters=self.couplings.letters)
        self.donors = donors or {}

    def read(self, id: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Profile (l, 21) and standardised couplings (l, l) of the residues start to stop; 0 beyond a donor's end."""
        donor = self.donors.get(id, id)
        columns = torch.from_numpy(self.profiles.features(donor, start, stop, (0, 0)))
        pairs = torch.from_numpy(self.couplings.maps(donor, start, start + len(columns))[0]).float()
        missing = stop - start - len(columns)
        return functional.pad(columns, (0, 0, 0, missing)), functional.pad(pairs, (0, missing, 0, missing))


def collate_features(features: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """profile (B, L, 21) and couplings (B, L, L), padded with 0."""
    profiles, couplings = zip(*features, strict=True)
    return {"profile": pad(profiles, 0), "couplings": pad(couplings, 0, dims=2)}


class AlignmentAdapter(nn.Module):
    """Adds a projection of the profile to the sequence state and one of the couplings to the pair state that trunk
    block `block` receives. Both start at zero: the model is what it was, to the bit.

    read: profile (B, L, 21) and couplings (B, L, L) of the batch that is folded next, as `model.fold` puts them.
    """

    def __init__(self, model: EsmForProteinFolding, block: int):
        super().__init__()
        trunk = model.config.esmfold_config.trunk
        self.profile = nn.Linear(WIDTH, trunk.sequence_state_dim, bias=False)
        self.couplings = nn.Linear(1, trunk.pairwise_state_dim, bias=False)
        self.register_buffer("block", torch.tensor(block))
        self.read = None
        for projection in (self.profile, self.couplings):
            nn.init.zeros_(projection.weight)
        self.to(next(model.trunk.parameters()).device)
        # The first of the adapted blocks: the frozen ones before it then need no gradient.
        model.trunk.blocks[block].register_forward_pre_hook(self._add)
        model.trunk.add_module(NAME, self)

    def _add(self, block, states):
        sequence, pair = states
        profiles, couplings = self.read
        return sequence + self.profile(profiles), pair + self.couplings(couplings[..., None])

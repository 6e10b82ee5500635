"""What the alignment adapter of a folding model that is trained from scratch reads of packed chains."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hardfold.alignment import WIDTH, log_odds
from hardfold.pretraining.packing import load_couplings, load_profiles


class PackedFeatures:
    """What the chains of a group give an adapter, read like `folding.alignment.AlignmentFeatures`.

    The profile that came with the structure, of a deeper search than ours, without shares of gaps; of those in
    `aligned` the couplings of their alignment, too.
    """

    def __init__(self, data: Path, alignments: Path, group: str):
        self.couplings = load_couplings(alignments, group)
        shares = {id: np.pad(shares, ((0, 0), (0, 1))) for id, shares in load_profiles(data, group).items()}
        self.profiles = {id: torch.from_numpy(log_odds(profile)) for id, profile in shares.items()}

    @property
    def aligned(self) -> set[str]:
        return set(self.couplings)

    def read(self, id: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Profile (l, 21) and couplings (l, l) of the residues start to stop."""
        if id not in self.couplings:
            return self.profiles[id][start:stop], torch.zeros(stop - start, stop - start)
        pairs = self.couplings[id][start:stop, start:stop]
        return self.profiles[id][start:stop], torch.from_numpy(pairs.astype(np.float32))


class NoFeatures:
    """Zeros, through which an adapter adds nothing: the model without it."""

    def read(self, id: str, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(stop - start, WIDTH), torch.zeros(stop - start, stop - start)

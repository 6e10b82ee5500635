"""What a masked language model sees: crops packed by a budget of tokens, 15 % of the residues hidden.

Shapes: B batch, R alignment rows, T tokens. Lin et al. 2023 (ESM-2), Rao et al. 2021 (MSA Transformer).
"""

from collections.abc import Sequence

import esm
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hardfold.batches import Batch, pad, plan_epoch, tokenize

MASKED, KEPT, SWAPPED = 0.15, 0.1, 0.1  # Devlin et al. 2019: of the 15 %, 10 % stay and 10 % become another residue
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
SHORTEST = 32  # residues; no more records of a batch than so long ones would fill it


def mask_tokens(tokens: Tensor, alphabet: esm.Alphabet, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(input, target), both shaped as `tokens`: 15 % of residues and gaps hidden 80/10/10, target -100 elsewhere."""
    letters = torch.tensor([alphabet.get_idx(letter) for letter in RESIDUES])
    hideable = torch.isin(tokens, torch.cat([letters, torch.tensor([alphabet.get_idx("-")])]))
    draw = torch.rand(tokens.shape, generator=generator)
    hidden = hideable & (draw < MASKED)
    target = torch.where(hidden, tokens, torch.full_like(tokens, -100))
    swapped = hidden & (draw < MASKED * SWAPPED)
    masked = hidden & (draw >= MASKED * (SWAPPED + KEPT))
    random_letters = letters[torch.randint(len(letters), tokens.shape, generator=generator)]
    return torch.where(masked, alphabet.mask_idx, torch.where(swapped, random_letters, tokens)), target


def plan_batches(
    lengths: np.ndarray, clusters: np.ndarray, steps: int, *, crop: int, residues: int, seed: int
) -> list[Batch]:
    """The batches of a whole run, (record, first residue): an epoch shows one record of each cluster, drawn anew, in
    batches of like lengths that hold at most `residues` with their padding. Raises ValueError without any record."""
    if not len(lengths):
        raise ValueError("no record to train on")
    generator, plan = np.random.default_rng(seed), []
    while len(plan) < steps:
        order = generator.permutation(len(clusters))
        members = order[np.unique(clusters[order], return_index=True)[1]]
        epoch = plan_epoch(lengths[members], max(1, residues // SHORTEST), crop, generator, max_tokens=residues)
        plan += [[(int(members[index]), start) for index, start in batch] for batch in epoch]
    return plan[:steps]


class MaskedBatches(Dataset):
    """Batches of a plan by number, (input, target) both (B, [R,] T): each is the same whatever came before it."""

    def __init__(self, records: Sequence, plan: list[Batch], cut, alphabet: esm.Alphabet, seed: int):
        self.records, self.plan, self.cut, self.alphabet, self.seed = records, plan, cut, alphabet, seed

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        crops = [self.cut(self.records[index], start, generator) for index, start in self.plan[step]]
        return mask_tokens(pad(crops, self.alphabet.padding_idx, dims=crops[0].dim()), self.alphabet, generator)


def cut_sequence(crop: int, alphabet: esm.Alphabet):
    """A function (sequence, start, generator) -> tokens (T,) of a crop, with CLS and EOS."""

    def cut(sequence: str, start: int, generator: torch.Generator) -> Tensor:
        return tokenize(np.frombuffer(sequence[start : start + crop].encode(), np.uint8), alphabet)

    return cut


def cut_alignment(crop: int, rows: int, alphabet: esm.Alphabet):
    """A function (rows (N, L) uint8, start, generator) -> tokens (R, T) with CLS: the query and random others."""

    def cut(alignment: np.ndarray, start: int, generator: torch.Generator) -> Tensor:
        others = 1 + torch.randperm(len(alignment) - 1, generator=generator)[: rows - 1].numpy()
        return tokenize(alignment[np.concatenate([[0], others]), start : start + crop], alphabet)

    return cut

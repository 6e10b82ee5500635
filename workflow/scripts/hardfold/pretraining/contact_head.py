"""The contact head of a trained language model: a logistic regression on its attention maps (Rao et al. 2021)."""

from pathlib import Path

import esm
import numpy as np
import torch
from torch import Tensor

from hardfold.batches import tokenize
from hardfold.contacts import evaluate
from hardfold.geometry import contact_map, distance_map
from hardfold.pretraining.packing import load_stretches
from hardfold.regression import fit_contacts
from hardfold.structure.chain import Chain


def fit_contact_head(model, alphabet: esm.Alphabet, data: Path, chains: int, alignments: dict | None = None) -> dict:
    """Fit the head's regression (L1, lambda 0.15) on `chains` training chains of `select_data`'s folder, in place.

    alignments: group -> id -> (N, L) uint8 rows, for an alignment model. Returns the mean long-range P@L of the head
    on the validation chains (None where it scores all pairs alike), and the numbers of chains.
    """
    fitted = _deepest(load_stretches(data, "train"), alignments, "train")[:chains]
    weight, bias = fit_contacts(
        (_attention_maps(model, _tokens(chain, alphabet, alignments, "train")), _contacts(chain)) for chain in fitted
    )
    with torch.no_grad():
        model.contact_head.regression.weight.copy_(torch.from_numpy(weight))
        model.contact_head.regression.bias.fill_(bias)
    precisions = []
    for chain in _deepest(load_stretches(data, "validation"), alignments, "validation"):
        with torch.no_grad():
            predicted = model.predict_contacts(_tokens(chain, alphabet, alignments, "validation"))[0].numpy()
        precisions.append(evaluate(predicted, _contacts(chain))["p_at_l_long"])
    return {
        "regression_chains": len(fitted),
        "validation_chains": len(precisions),
        "p_at_l_long": None if np.isnan(precisions).all() else float(np.nanmean(precisions)),
    }


def _contacts(chain: Chain) -> np.ndarray:
    return contact_map(distance_map(chain.coordinates, chain.sequence))


def _deepest(chains: dict[str, Chain], alignments, group) -> list[Chain]:
    """The chains of 64 residues or more, those with the deepest alignments first."""
    usable = [chain for _, chain in sorted(chains.items()) if len(chain.sequence) >= 64]
    if alignments:
        usable = [chain for chain in usable if chain.id in alignments[group]]
        usable.sort(key=lambda chain: -len(alignments[group][chain.id]))
    return usable


def _tokens(chain, alphabet, alignments, group) -> Tensor:
    letters = alignments[group][chain.id] if alignments else np.frombuffer(chain.sequence.encode(), np.uint8)
    return tokenize(letters, alphabet)[None]


@torch.no_grad()
def _attention_maps(model, tokens) -> np.ndarray:
    """(layers * heads, L, L) symmetrised, APC-corrected attention, as the contact head of fair-esm sees it."""
    captured = []
    hook = model.contact_head.regression.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
    model.predict_contacts(tokens)
    hook.remove()
    return captured[0][0].numpy().transpose(2, 0, 1)

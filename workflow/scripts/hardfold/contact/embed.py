"""The frozen layers of an encoder, run once a chain for all experiments."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from hardfold import backbones
from hardfold.batches import tokenize
from hardfold.contact.embeddings import EmbeddingsError, write_embeddings
from hardfold.contact.encoders import ENCODERS, Encoder
from hardfold.dataset import Dataset, evenly_chosen
from hardfold.training import device
from hardfold.weights import verify


def embed_chains(
    *, embedding: Mapping, weights: Path, chains: Mapping[str, Path], outputs: Mapping[str, Path], threads: int
) -> None:
    """Write what `embedding` (an entry of contact.keys) asks for of the chains of each split's data set."""
    torch.set_num_threads(threads)
    record = verify(weights)
    checkpoint = f"{record['name']}.pt"
    encoder = ENCODERS[embedding["encoder"]](*backbones.load(Path(weights, checkpoint)), frozen=embedding["layer"])
    encoder.weights = record["files"][checkpoint]
    encoder.to(device())
    for split, data in chains.items():
        embed(encoder, embedding, data, outputs[split], embedding["training_chains"] if split == "train" else None)


def embed(encoder: Encoder, embedding: Mapping, chains: Path, output: Path, most: int | None = None) -> None:
    """`embed_chains` with a loaded encoder: uncropped chains, one at a time, `most` of them, by default all. Raises
    EmbeddingsError for chains that are longer than it reads."""
    data, limit, where = Dataset(chains), encoder.max_residues, next(encoder.parameters()).device
    ids = data.ids if most is None else evenly_chosen(data.ids, most)
    lengths = {id: length for id, length in zip(data.ids, data.lengths(), strict=True) if id in set(ids)}
    if long := [id for id, length in lengths.items() if limit and length > limit]:
        raise EmbeddingsError(f"{', '.join(long)}: longer than the {limit} residues that the alignment model reads")
    size = estimate(encoder, embedding, lengths.values()) / 1e6
    logging.info("%s: %s of %d chains, at most %.1f MB", output, embedding["content"], len(lengths), size)
    run = encoder.frozen_maps if embedding["content"] == "attention" else encoder.frozen_part
    write_embeddings(
        lambda letters: run(tokenize(letters, encoder.alphabet).to(where)).cpu().numpy(),
        embedding,
        chains,
        output,
        encoder.weights,
        ids,
    )


def estimate(encoder: Encoder, embedding: Mapping, lengths: Iterable[int]) -> int:
    """Bytes of the arrays of chains of these `lengths`, at most: an alignment may be shallower than `rows`."""
    lengths = np.array(list(lengths))
    if embedding["content"] == "attention":
        return int((lengths * (lengths + 1)).sum()) * encoder.frozen * encoder.heads
    rows, ends = (1, 0) if encoder.is_frozen else (max(1, embedding["rows"]), sum(encoder.ends))
    return int((lengths + ends).sum()) * rows * encoder.dim * 4

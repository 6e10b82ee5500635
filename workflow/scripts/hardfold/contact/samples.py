"""Samples of the contact track: a chain's inputs and truth, cropped and padded, in batches."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils import data

from hardfold.batches import pad, plan_epoch, plan_windows, share, share_chains, tokenize
from hardfold.contact.embeddings import Embeddings
from hardfold.contact.keys import embedding_entries
from hardfold.contact.model import ContactModel
from hardfold.dataset import Dataset
from hardfold.distributed import rank, ranks
from hardfold.geometry import UNRESOLVED

PAIR_FEATURES = ("esm2_attention", "esm_msa_attention", "couplings")  # the order of their maps in a batch


class Samples(data.Dataset):
    """(index, start) -> one chain's residues from `start` on, `max_length` of them at most; start None: its first ones,
    and nothing known of the truth.

    Read from the data set `path` and, where the first layers of an encoder are frozen and for pair features, from
    `embeddings`/<key>/, a file of the same name as the data set's (see contact.embeddings). Of several processes
    (hardfold.distributed) each reads its share of the batches.
    """

    def __init__(self, path: Path, model: ContactModel, embeddings: Path):
        """Raises ValueError for a split of less chains than processes, EmbeddingsError where embeddings are not of it
        or the model."""
        self.path, self.chains, self.options = Path(path), Dataset(path), model.options
        self.lengths = self.chains.lengths()
        if not self.lengths:
            raise ValueError(f"{path}: no chains")
        if len(self.lengths) < ranks():
            raise ValueError(f"devices: {ranks()}, but {path} has {len(self.lengths)} chains")
        encoders = model.encoders()
        self.alphabets = {name: encoder.alphabet for name, encoder in encoders.items()}
        # Features of an encoder that is frozen as a whole are those of the residues alone.
        self.ends = {name: (0, 0) if encoder.is_frozen else encoder.ends for name, encoder in encoders.items()}
        self.kept = {}
        for name, embedding in embedding_entries(self.options).items():
            file = Path(embeddings, embedding["key"], self.path.name)
            encoder = encoders.get(embedding["encoder"])
            self.kept[name] = Embeddings(file, embedding, encoder.weights if encoder else "", self.path)
            logging.info("%s: %s read from %s (%.1f MB)", self.path, name, file, file.stat().st_size / 1e6)
        # Rows of the alignment are read only where the encoder reads tokens.
        self.rows = self.options["num_msa_rows"] if "esm_msa" in encoders.keys() - self.kept.keys() else 0
        for name in sorted(encoders.keys() - self.kept.keys()):
            logging.info("%s: %s reads tokens, none of its layers is frozen", self.path, name)

    def __len__(self) -> int:
        return len(self.lengths)

    def training(self, seed: int, epoch: int) -> data.DataLoader:
        """The batches of a training epoch: order and crops come from the seed and the epoch alone."""
        options = self.options
        plan = plan_epoch(
            self.lengths,
            options["batch_size"],
            options["max_length"],
            np.random.default_rng([seed, epoch]),
            max_tokens=options["max_tokens_per_batch"],
            truncate=options["train_mode"] == "truncate_seq",
        )
        return self._loader(share(plan, rank(), ranks()))

    def windows(self) -> data.DataLoader:
        """The batches of validation and test: every chain's windows, one after the other."""
        options = self.options
        plan = plan_windows(
            self.lengths,
            options["val_batch_size"],
            options["max_length"],
            step=options["sliding_window_step"] if options["val_mode"] == "sliding_window" else None,
            max_tokens=options["max_tokens_per_batch"],
        )
        return self._loader(share_chains(plan, rank(), ranks()))

    def _loader(self, plan):
        return data.DataLoader(
            self, batch_sampler=plan, collate_fn=self.collate, num_workers=self.options["num_workers"]
        )

    def __getitem__(self, key: tuple[int, int | None]) -> dict:
        index, first = key
        start = first or 0
        stop = min(self.lengths[index], start + self.options["max_length"])
        record = self.chains.read(self.chains.ids[index], slice(start, stop), self.rows)
        sample = {
            "id": record.id,
            "start": first,
            "contact": torch.from_numpy(record.contact_map),
            "distance": torch.from_numpy(record.distance_map),
            "angle": torch.from_numpy(record.angle_map),
        }
        if first is None:
            sample["contact"].fill_(UNRESOLVED)
            sample["distance"].fill_(torch.nan)
            sample["angle"].fill_(torch.nan)
        for name in self.alphabets:
            if name in self.kept:
                sample[name] = torch.from_numpy(self.kept[name].features(record.id, start, stop, self.ends[name]))
            else:
                sample[name] = self._tokens(name, record)
        maps = [self.kept[name].maps(record.id, start, stop) for name in PAIR_FEATURES if name in self.kept]
        if maps:
            sample["pair"] = torch.from_numpy(np.concatenate(maps))
        return sample

    def _tokens(self, name, record) -> Tensor:
        """(T,) of the sequence or (R, T) of the alignment; a crop has both ends' tokens, too."""
        letters = np.frombuffer(record.sequence.encode(), np.uint8) if name == "esm2" else record.msa
        return tokenize(letters, self.alphabets[name])

    def collate(self, samples: Sequence[Mapping]) -> dict:
        """What ContactModel.forward reads, and the truth.

        ids and starts, mask (B, L) of residues, contact and distance (B, L, L), angle (B, L, 2); esm2: tokens (B, T) or
        features (B, T, D), (B, L, D); esm_msa: a list of tokens (R, T) or features (R, T, D), one alignment each, or
        features (B, L, D); pair (B, P, L, L) float16 where pair features are asked for.
        """
        parts = {key: [sample[key] for sample in samples] for key in samples[0]}
        batch = {
            "ids": parts["id"],
            "starts": parts["start"],
            "mask": pad([torch.ones(len(contact), dtype=torch.bool) for contact in parts["contact"]], False),
            "contact": pad(parts["contact"], UNRESOLVED, dims=2),
            "distance": pad(parts["distance"], torch.nan, dims=2),
            "angle": pad(parts["angle"], torch.nan),
        }
        for name, alphabet in self.alphabets.items():
            values = parts[name]
            if name == "esm_msa" and (name not in self.kept or values[0].dim() == 3):
                batch[name] = values
            else:
                batch[name] = pad(values, 0 if name in self.kept else alphabet.padding_idx)
        if "pair" in parts:
            size = batch["mask"].shape[1]
            maps = [functional.pad(pair, (0, size - pair.shape[-1]) * 2) for pair in parts["pair"]]
            batch["pair"] = torch.stack(maps)
        return batch

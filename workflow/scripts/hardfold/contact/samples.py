"""Samples of the contact track: a chain's inputs and truth, cropped and padded; features of frozen encoders, kept."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from hardfold.alignment import select_rows
from hardfold.batches import pad, tokenize
from hardfold.contact.model import ContactModel, Encoder
from hardfold.dataset import Dataset
from hardfold.geometry import UNRESOLVED
from hardfold.jobs import progress


class Samples(data.Dataset):
    """(index, start) -> one chain, cropped to `max_length` residues from `start` on; None keeps all of it.

    A frozen encoder sees each chain once, uncropped: its features are kept in `cache`, an HDF5 file of this run.
    """

    def __init__(self, path: Path, model: ContactModel, cache: Path, max_length: int | None = None):
        self.path, self.chains, self.model, self.max_length = path, Dataset(path), model, max_length
        self.cache = h5py.File(cache, "w")
        self.lengths = self.chains.lengths()
        if not self.lengths:
            raise ValueError(f"{path}: no chains")
        self._check_limits()
        for key, encoder in self._encoders().items():
            if encoder.is_frozen:
                self._keep_features(key, encoder)

    def _encoders(self) -> dict[str, Encoder]:
        return {key: encoder for key in ("esm2", "esm_msa") if (encoder := getattr(self.model, key)) is not None}

    def _check_limits(self):
        if self.model.esm_msa is None:
            return
        limit = self.model.esm_msa.model.args.max_positions - 1  # one column is BOS
        if long := [name for name, length in zip(self.chains.ids, self.lengths, strict=True) if length > limit]:
            raise ValueError(f"{', '.join(long)}: longer than the {limit} residues that the alignment model reads")

    def _keep_features(self, key, encoder):
        what = f"{key} is frozen: features of {self.path} kept"
        device = next(encoder.parameters()).device
        for name in progress(self.chains.ids, len(self.chains.ids), what):
            with torch.no_grad():
                features = encoder(self._tokens(key, self.chains[name], slice(None))[None].to(device))[0]
            self.cache[f"{key}/{name}"] = features.cpu().numpy()

    def _tokens(self, key, record, crop) -> Tensor:
        """(L + ends,) of the sequence or (R, L + ends) of the selected rows; a crop keeps both ends' tokens."""
        alphabet = getattr(self.model, key).alphabet
        if key == "esm2":
            return tokenize(np.frombuffer(record.sequence.encode(), np.uint8)[crop], alphabet)
        rows = record.msa[select_rows(record.msa, self.model.options["num_msa_rows"])]
        return tokenize(rows[:, crop], alphabet)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index, start = key
        record = self.chains[self.chains.ids[index]]
        crop = slice(start, None if self.max_length is None else start + self.max_length)
        sample = {
            "id": record.id,
            "contact": torch.from_numpy(record.contact_map[crop, crop]),
            "distance": torch.from_numpy(record.distance_map[crop, crop]),
            "angle": torch.from_numpy(record.angle_map[crop]),
        }
        for name, encoder in self._encoders().items():
            if encoder.is_frozen:
                sample[name] = torch.from_numpy(self.cache[f"{name}/{record.id}"][crop])
            else:
                sample[name] = self._tokens(name, record, crop)
        return sample

    def loader(self, batches: Sequence[Sequence[tuple[int, int]]]) -> data.DataLoader:
        """The batches of a plan, one after the other."""
        return data.DataLoader(self, batch_sampler=batches, collate_fn=self.collate)

    def collate(self, samples: Sequence[Mapping]) -> dict:
        """ids, mask (B, L) of residues, contact, distance, angle, and what ContactModel.forward reads."""
        lengths = [len(sample["contact"]) for sample in samples]
        batch = {
            "ids": [sample["id"] for sample in samples],
            "mask": pad([torch.ones(length, dtype=torch.bool) for length in lengths], False),
            "contact": pad([sample["contact"] for sample in samples], UNRESOLVED, dims=2),
            "distance": pad([sample["distance"] for sample in samples], torch.nan, dims=2),
            "angle": pad([sample["angle"] for sample in samples], torch.nan),
        }
        for name, encoder in self._encoders().items():
            inputs = [sample[name] for sample in samples]
            if encoder.is_frozen:
                batch[name] = pad(inputs, 0.0)
            elif name == "esm2":
                batch[name] = pad(inputs, encoder.alphabet.padding_idx)
            else:
                batch[name] = [tokens[None] for tokens in inputs]
        return batch

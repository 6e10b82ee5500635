"""Training steps of the contact track, hardfold's and a straightforward implementation's: same chains, same batches,
same loss. As a program it trains one side, in a process of its own, and prints what it cost (see `main`).
"""

import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
import yaml
from esm.multihead_attention import MultiheadAttention
from measure import ROOT
from torch import Tensor, nn
from torch.nn import functional

from hardfold import backbones
from hardfold.alignment import Alignment, write_a3m
from hardfold.contact.embed import embed
from hardfold.contact.keys import embedding_entries
from hardfold.contact.model import ContactModel, PairHead
from hardfold.contact.module import HISTORY, ContactModule
from hardfold.contact.samples import Samples
from hardfold.dataset import build_shard
from hardfold.geometry import UNRESOLVED
from hardfold.structure.chain import Chain, save_chains
from hardfold.trainer import build_trainer
from hardfold.training import History, seed_everything

_EXPERIMENTS = yaml.safe_load((ROOT / "config/config.yaml").read_text())["experiments"]
OPTIONS = {**_EXPERIMENTS["defaults"], **_EXPERIMENTS["runs"]["exp5"], "max_tokens_per_batch": None, "num_epochs": 1}
EXP3 = {"distance_loss_type": "mse", "angle_loss_type": "mse"}  # one channel of distance instead of 37
_LETTERS = np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY", np.uint8)


def random_chains(lengths: Iterable[int]) -> Iterable[Chain]:
    """Chains of random letters on random walks of 3.8 angstrom a step."""
    generator = np.random.default_rng(1)
    for number, length in enumerate(lengths):
        steps = generator.normal(size=(length, 3))
        alpha = np.cumsum(3.8 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
        sequence = generator.choice(_LETTERS, length).tobytes().decode()
        yield Chain.from_atoms(f"{number:04d}_A", sequence, alpha[:, None] + generator.normal(size=(length, 5, 3)))


def write_dataset(folder: Path, chains: Iterable[Chain], rows: int) -> None:
    """train.h5 of the chains and validation.h5 of the first one, with alignments of `rows` rows, random by a third."""
    generator, chains = np.random.default_rng(2), list(chains)
    for chain in chains:
        query = np.frombuffer(chain.sequence.encode(), np.uint8)
        others = generator.choice(_LETTERS, (rows - 1, len(query)))
        others = np.where(generator.random(others.shape) < 0.3, others, query)
        names = tuple(map(str, range(rows)))
        write_a3m(folder / f"alignments/{chain.id}.a3m", Alignment(names, np.concatenate([query[None], others])))
    for name, part in (("train", chains), ("validation", chains[:1])):
        save_chains(folder / f"{name}-chains.h5", part)
        build_shard(
            folder / f"{name}-chains.h5", folder / "alignments", folder / f"{name}.h5", max_rows=rows, selection="top"
        )


def load_backbones(esm2: Sequence[int] | None = None, esm_msa: Sequence[int] | None = None) -> tuple:
    """(model, alphabet) of ESM-2 and of the alignment model: random weights of (layers, width, heads), or embedded."""

    def load(name, build, sizes):
        return build(*sizes) if sizes else backbones.load(ROOT / f"resources/models/{name}/{name}.pt")

    return (
        load(OPTIONS["esm2_name"], backbones.build_esm2, esm2),
        load(OPTIONS["esm_msa_name"], backbones.build_esm_msa, esm_msa),
    )


class StraightforwardModel(ContactModel):
    """The same function, loss and trained parameters: fair-esm's models and attention, run whole in every step (frozen
    layers get no gradient), and `pair_head`s. What lies between, projections and CrossFusion, is hardfold's."""

    def __init__(self, esm2, esm_msa, options, pair_head=None):
        super().__init__(esm2, esm_msa, options)
        self.options |= {"num_layers_to_freeze_esm2": 0, "num_layers_to_freeze_msa": 0}  # batches are of tokens
        for layer in self.esm2.model.layers:
            layer.self_attn.__class__ = MultiheadAttention
        for task, head in self.heads.items():
            if isinstance(head, PairHead) and pair_head:
                self.heads[task] = pair_head(head)

    def encode(self, batch):
        features = []
        for name, encoder in self.encoders().items():
            last = encoder.model.num_layers
            features.append(encoder.model(batch[name], repr_layers=[last])["representations"][last])
        sequence, alignment = features
        mask = batch["mask"][..., None]
        return sequence[:, 1:-1] * mask, alignment[:, 0, 1:] * mask, None


class BilinearHead(nn.Module):
    """A PairHead's function by nn.Bilinear over expanded pairs."""

    def __init__(self, head: PairHead):
        super().__init__()
        channels, dim, _ = head.weight.shape
        self.bilinear = nn.Bilinear(dim, dim, channels, bias=False)
        self.bilinear.weight.data = head.weight.data
        self.bias = head.bias

    def forward(self, x: Tensor, features: None) -> Tensor:
        length, dim = x.shape[1:]
        left = x[:, :, None].expand(-1, -1, length, -1).contiguous()
        right = x[:, None].expand(-1, length, -1, -1).contiguous()
        pairs = self.bilinear(left, right).movedim(-1, 1) / dim
        position = torch.arange(length, device=x.device)
        separation = (position[:, None] - position).abs().clamp(max=self.bias.shape[1] - 1)
        return (pairs + pairs.transpose(-1, -2)) / 2 + self.bias[:, separation]


class StraightforwardSamples(Samples):
    """Every batch is padded to `max_length`."""

    def collate(self, samples):
        batch = super().collate(samples)
        padding = {name: alphabet.padding_idx for name, alphabet in self.alphabets.items()}
        size = self.options["max_length"]
        row = (0, size - batch["mask"].shape[1])
        for name, ends, value in (
            ("mask", row, False),
            ("contact", row * 2, UNRESOLVED),
            ("distance", row * 2, np.nan),
            ("angle", (0, 0, *row), np.nan),
            ("esm2", row, padding["esm2"]),
        ):
            batch[name] = functional.pad(batch[name], ends, value=value)
        rows = [
            functional.pad(part, (0, size + 1 - part.shape[1]), value=padding["esm_msa"]) for part in batch["esm_msa"]
        ]
        batch["esm_msa"] = torch.stack(rows)
        return batch


SIDES = {
    "hardfold": (ContactModel, Samples),
    "straightforward": (lambda *parts: StraightforwardModel(*parts, BilinearHead), StraightforwardSamples),
    "straightforward, pair heads factorised": (StraightforwardModel, StraightforwardSamples),
}


def embed_dataset(folder: Path, model: ContactModel) -> None:
    """What `model` reads of frozen layers, for the files of `write_dataset`."""
    for embedding in embedding_entries(model.options).values():
        for name in ("train.h5", "validation.h5"):
            embed(model.encoders()[embedding["encoder"]], embedding, folder / name, folder / embedding["key"] / name)


class Clock(lightning.Callback):
    """Times of the steps but the first, which warms up; a step lasts from the end of the one before to its own end."""

    def __init__(self):
        self.starts, self.ends, self.cpu, self.residues, self.losses = [], [], [], [], []

    def on_train_batch_start(self, *_):
        self.starts.append(time.perf_counter())

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.residues.append(int(batch["mask"].sum()))
        self.losses.append(float(outputs["loss"]))

    def cost(self) -> dict:
        """cpu, wall (seconds a step), residues (a step), waiting (share of the wall time between a step's end and the
        next one's start: the data and their way to the device), losses."""
        steps, wall = len(self.ends) - 1, self.ends[-1] - self.ends[0]
        waiting = sum(start - end for start, end in zip(self.starts[1:], self.ends, strict=False))
        return {
            "cpu": (self.cpu[-1] - self.cpu[0]) / steps,
            "wall": wall / steps,
            "residues": sum(self.residues[1:]) / steps,
            "waiting": waiting / wall,
            "losses": self.losses,
        }


def train(model: ContactModel, folder: Path, samples=Samples, steps: int | None = None) -> dict:
    """An epoch on train.h5, or its first steps, by the Trainer, as train_experiment makes them -> `Clock.cost`."""
    data = {name: samples(folder / f"{name}.h5", model, folder) for name in ("train", "validation")}
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        trainer = build_trainer(
            callbacks=[clock], max_epochs=1, precision=model.options["precision"],
            gradient_clip=model.options["gradient_clip"], limit_train_batches=steps,
        )  # fmt: skip
        trainer.fit(ContactModule(model, **data, history=History(Path(output, "history.csv"), HISTORY), seed=1))
    return clock.cost()


def main(
    side: str, folder: str, options: Mapping, esm2: Sequence[int] | None, steps: int | None, limit_gb: float
) -> dict:
    """`train` with one thread -> its cost; where memory of `limit_gb` GB does not suffice, the bytes it asked for."""
    seed_everything(1)
    resource.setrlimit(resource.RLIMIT_AS, (int(limit_gb * 1e9),) * 2)
    model, samples = SIDES[side]
    try:
        return train(model(*load_backbones(esm2), {**OPTIONS, **options}), Path(folder), samples, steps)
    except RuntimeError as fault:
        if asked := re.search(r"you tried to allocate (\d+) bytes", str(fault)):
            return {"asked": int(asked[1])}
        raise


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))))

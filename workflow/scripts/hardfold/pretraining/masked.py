"""Training by masked tokens: steps, the held-out loss, what a run that was cut short goes on from."""

import logging
import math
import time
from collections.abc import Callable, Mapping

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from hardfold.distributed import rank, ranks, summed
from hardfold.pretraining.masking import MaskedBatches
from hardfold.trainer import warmup_cosine
from hardfold.training import History, require_finite, seed_batch

HISTORY = ["step", "tokens", "loss", "validation_loss", "validation_perplexity"]


class MaskedModel(lightning.LightningModule):
    """Cross entropy over hidden positions; AdamW with linear warm-up, then a cosine to a tenth of the rate.

    An epoch of the Trainer is the interval from one held-out loss to the next; batches and dropout depend on the step
    alone, so a run that was cut short goes on at an interval's start as if it had not been. Of several processes each
    takes every so many record of a batch; their mean gradient is that of the batch.

    logits: tokens -> (B, ..., V) of `network`. held_out: batches of one record each. `tokens` counts those shown,
    padding aside, and `seconds` those of training, earlier processes included.
    """

    def __init__(
        self,
        network: nn.Module,
        logits: Callable[[Tensor], Tensor],
        training: MaskedBatches,
        held_out: list[tuple[Tensor, Tensor]],
        history: History,
        settings: Mapping,
    ):
        super().__init__()
        self.network, self.logits, self.training_batches, self.held_out = network, logits, training, held_out
        self.history, self.settings = history, settings
        self.intervals = math.ceil(settings["steps"] / settings["validate_every"])
        self.losses, self.tokens, self.seconds = [], 0, 0.0

    def configure_optimizers(self) -> dict:
        rate, steps, warmup = self.settings["learning_rate"], self.settings["steps"], self.settings["warmup"]
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        matrices = [parameter for parameter in trained if parameter.dim() > 1]
        vectors = [parameter for parameter in trained if parameter.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
        schedule = warmup_cosine(optimizer, warmup, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> DataLoader:
        last = min(self.global_step + self.settings["validate_every"], self.settings["steps"])
        steps, workers = range(self.global_step, last), self.settings["workers"]
        return DataLoader(self.training_batches, batch_size=None, sampler=steps, num_workers=workers)

    def on_train_start(self) -> None:
        if not self.history.rows:
            self._validate()

    def on_train_batch_start(self, batch, index: int) -> None:
        self.begun = time.monotonic()
        seed_batch(self.training_batches.seed, self.global_step, rank())

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        tokens, target = batch
        hidden = (target != -100).sum()
        own, own_target = tokens[rank() :: ranks()], target[rank() :: ranks()]
        if not len(own):  # fewer records than processes: one is run without its truth
            own, own_target = tokens[:1], torch.full_like(target[:1], -100)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings["bfloat16"]):
            logits = self.logits(own)
        total = functional.cross_entropy(logits.float().flatten(0, -2), own_target.flatten(), reduction="sum")
        loss = total * ranks() / hidden
        require_finite(loss.detach()[None], [f"batch {self.global_step}"], self.global_step)
        self.tokens += int((tokens != self.training_batches.alphabet.padding_idx).sum())
        return loss

    def on_train_batch_end(self, outputs, batch, index: int) -> None:
        self.losses.append(summed([float(outputs["loss"])])[0] / ranks())
        self.seconds += time.monotonic() - self.begun
        if self.global_step % self.settings["validate_every"] == 0 or self.global_step == self.settings["steps"]:
            self._validate()

    def _validate(self) -> None:
        self.eval()
        loss = float(np.mean(held_out_losses(self, self.held_out, self.training_batches.alphabet.mask_idx)))
        self.train()
        row = {"step": self.global_step, "tokens": self.tokens, "loss": float(np.mean(self.losses or [math.nan]))}
        self.losses.clear()
        self.history.append(row | {"validation_loss": loss, "validation_perplexity": math.exp(loss)})
        logging.info("step %d: held-out perplexity %.2f", self.global_step, math.exp(loss))

    def on_save_checkpoint(self, checkpoint):
        checkpoint["run"] = {"history": self.history.rows, "tokens": self.tokens, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint):
        run = checkpoint["run"]
        self.history.restore(run["history"])
        self.tokens, self.seconds = run["tokens"], run["seconds"]


@torch.no_grad()
def held_out_losses(module: MaskedModel, batches: list[tuple[Tensor, Tensor]], mask_idx: int) -> list[float]:
    """The mean loss of each batch over positions that show the mask token.

    Where the residue still stands, copying looks like learning, so those positions do not count; a batch without any
    hidden position is left out.
    """
    losses = []
    for tokens, target in batches:
        tokens, target = tokens.to(module.device), target.to(module.device)
        hidden = (target != -100) & (tokens == mask_idx)
        if hidden.any():
            losses.append(float(functional.cross_entropy(module.logits(tokens).float()[hidden], target[hidden])))
    return losses

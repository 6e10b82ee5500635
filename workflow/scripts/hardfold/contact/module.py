"""The Lightning module of the contact track: steps, epoch means, validation ROC AUC, the history, the best epoch."""

import logging
import math

import lightning
import numpy as np
import torch
from torch import Tensor

from hardfold.batches import plan_epoch, plan_whole
from hardfold.contact.losses import all_losses, mean, weighted
from hardfold.contact.model import TASKS, ContactModel
from hardfold.contact.samples import Samples
from hardfold.contacts import resolved_pairs, roc_auc
from hardfold.training import History, require_finite, trained_state

_LOSSES = [f"{split}_{name}" for split in ("train", "validation") for name in ("loss", *TASKS)]
HISTORY = ["epoch", "learning_rate", *_LOSSES, "validation_roc_auc"]


class ContactModule(lightning.LightningModule):
    """Trains a ContactModel. After fit: `best_state` and `best_epoch` (of the largest validation ROC AUC), `residues`
    (seen in training)."""

    def __init__(self, model: ContactModel, train: Samples, validation: Samples, history: History, seed: int):
        super().__init__()
        self.model, self.train_samples, self.validation_samples = model, train, validation
        self.history, self.seed = history, seed
        self.best_state, self.best_epoch, self.best_roc_auc = None, None, -math.inf
        self.residues = 0

    def configure_optimizers(self):
        options = self.model.options
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=options["learning_rate"], weight_decay=options["weight_decay"])

    def train_dataloader(self):
        """A new order and new crops each epoch, from the seed and the epoch alone."""
        options = self.model.options
        generator = np.random.default_rng([self.seed, self.current_epoch])
        plan = plan_epoch(self.train_samples.lengths, options["batch_size"], options["max_length"], generator)
        return self.train_samples.loader(plan)

    def val_dataloader(self):
        options = self.model.options
        plan = plan_whole(self.validation_samples.lengths, options["batch_size"] * options["max_length"])
        return self.validation_samples.loader(plan)

    def on_train_epoch_start(self):
        self.train_totals, self.validation_totals, self.roc_aucs = {}, {}, []

    def training_step(self, batch, index) -> Tensor:
        parts = all_losses(self.model(batch), batch, self.model.options)
        by_sample = {task: total / count.clamp(min=1) for task, (total, count) in parts.items()}
        require_finite(weighted(by_sample, self.model.options), batch["ids"], self.global_step)
        _accumulate(self.train_totals, parts)
        self.residues += int(batch["mask"].sum())
        return weighted({task: mean(*part) for task, part in parts.items()}, self.model.options)

    def validation_step(self, batch, index):
        outputs = self.model(batch)
        _accumulate(self.validation_totals, all_losses(outputs, batch, self.model.options))
        probabilities = self.model.predict(outputs)["contact"].cpu().numpy()
        for probability, contact, mask in zip(probabilities, batch["contact"].cpu(), batch["mask"], strict=True):
            length = int(mask.sum())
            scored = resolved_pairs(probability[:length, :length], contact[:length, :length].numpy())
            self.roc_aucs.append(roc_auc(*scored))

    def on_train_epoch_end(self):
        known = [value for value in self.roc_aucs if not math.isnan(value)]
        value = float(np.mean(known)) if known else math.nan
        if value > self.best_roc_auc:
            self.best_roc_auc, self.best_epoch = value, self.current_epoch + 1
            self.best_state = trained_state(self.model)
        row = {
            "epoch": self.current_epoch + 1,
            "learning_rate": self.optimizers().param_groups[0]["lr"],
            "validation_roc_auc": value,
            **self._means("train", self.train_totals),
            **self._means("validation", self.validation_totals),
        }
        self.history.append(row)
        message = "epoch %d: train loss %.4f, validation loss %.4f, validation ROC AUC %.4f"
        logging.info(message, row["epoch"], row["train_loss"], row["validation_loss"], value)

    def _means(self, split, totals):
        means = {task: mean(*total) for task, total in totals.items()}
        named = {"loss": weighted(means, self.model.options), **means}
        return {f"{split}_{name}": float(value) for name, value in named.items()}


def _accumulate(totals, parts):
    """Add sums and counts, so that an epoch's mean does not depend on how it was cut into batches."""
    for task, (total, count) in parts.items():
        before = totals.get(task, (0, 0))
        totals[task] = before[0] + total.detach().sum().double(), before[1] + count.sum()

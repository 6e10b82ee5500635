"""The Lightning module of the contact track: steps, epoch means, validation metrics, the history."""

import logging

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import DataLoader

from hardfold.contact.losses import all_losses, mean, weighted
from hardfold.contact.model import TASKS, ContactModel
from hardfold.contact.samples import Samples
from hardfold.contact.windows import cut, stitched
from hardfold.contacts import pr_auc, resolved_pairs, roc_auc
from hardfold.distributed import ranks, summed
from hardfold.training import History, load_trained_state, require_finite, trained_state

_SPLITS = ("train", "validation")
_LOSSES = [f"{split}_{name}" for split in _SPLITS for name in ("loss", *TASKS)]
_SCORES = {"validation_roc_auc": roc_auc, "validation_pr_auc": pr_auc}
HISTORY = ["epoch", "learning_rate", *_LOSSES, *_SCORES]


class ContactModule(lightning.LightningModule):
    """Trains a ContactModel and adds a row to `history` an epoch. `residues`: those that this process trained on.

    Several processes take a share of each batch (see `training_step`) and come to what one alone would.
    """

    def __init__(self, model: ContactModel, train: Samples, validation: Samples, history: History, seed: int):
        super().__init__()
        self.model, self.history, self.seed = model, history, seed
        self.train_samples = train
        self.validation_samples = train if model.options["overfit_one_batch"] else validation
        samples = self.validation_samples
        self.lengths = dict(zip(samples.chains.ids, samples.lengths, strict=True))
        self.residues = 0

    def configure_optimizers(self):
        options = self.model.options
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=options["learning_rate"], weight_decay=options["weight_decay"])
        if not options["use_scheduler"]:
            return optimizer
        # A step an epoch (Loshchilov and Hutter 2017).
        schedule = CosineAnnealingWarmRestarts(optimizer, options["t_0"], options["t_mult"], options["eta_min"])
        return [optimizer], [schedule]

    def train_dataloader(self):
        """A new order and new crops each epoch, from the seed and the epoch alone; one batch only to overfit."""
        if self.model.options["overfit_one_batch"]:
            return DataLoader([next(iter(self.train_samples.training(self.seed, 0)))], batch_size=None)
        return self.train_samples.training(self.seed, self.current_epoch)

    def val_dataloader(self):
        return self.train_dataloader() if self.model.options["overfit_one_batch"] else self.validation_samples.windows()

    def on_train_epoch_start(self):
        self.learning_rate = self.optimizers().param_groups[0]["lr"]
        self.totals = {f"{split}_{task}": np.zeros(2) for split in _SPLITS for task in self.model.tasks}

    def training_step(self, batch, index) -> Tensor:
        """The loss of the whole batch; its gradient is this process's part, times their number: DDP takes the mean."""
        if batch["starts"] != [None]:
            self.residues += int(batch["mask"].sum())
        parts = self._losses("train", self.model(batch), batch)
        counts = summed([int(count.sum()) for _, count in parts.values()])
        means = [mean(total, total.new_tensor(count)) for (total, _), count in zip(parts.values(), counts, strict=True)]
        own = weighted(dict(zip(parts, means, strict=True)), self.model.options)
        (whole,) = summed([own.item()])
        return ranks() * own + (whole - ranks() * own).detach()

    def on_validation_epoch_start(self):
        self.windows, self.scores = [], {name: [] for name in _SCORES}

    def validation_step(self, batch, index):
        outputs = self.model(batch)
        self._losses("validation", outputs, batch)
        self.windows += cut({"contact": self.model.predict(outputs)["contact"]}, batch)
        # A chain's windows come one after the other: those of all chains but the last are complete.
        last = self.windows[-1][0]
        self._score([window for window in self.windows if window[0] != last])
        self.windows = [window for window in self.windows if window[0] == last]

    def on_validation_epoch_end(self):
        self._score(self.windows)
        for name, values in self.scores.items():
            self.totals[name] = np.array([np.nansum(values), np.count_nonzero(~np.isnan(values))])

    def on_train_epoch_end(self):
        # Not Lightning's means: over processes it averages the counts, too, and as whole numbers.
        totals = zip(self.totals, np.reshape(summed(np.ravel(list(self.totals.values()))), (-1, 2)), strict=True)
        means = {name: float(total / count) if count else np.nan for name, (total, count) in totals}
        for split in _SPLITS:
            parts = {task: means[f"{split}_{task}"] for task in self.model.tasks}
            means[f"{split}_loss"] = weighted(parts, self.model.options)
        row = {**means, "epoch": self.current_epoch + 1, "learning_rate": self.learning_rate}
        if self.trainer.is_global_zero:
            self.history.append(row)
        values = {name: float(value) for name, value in row.items()}
        self.log_dict(values, sync_dist=True, logger=bool(self.trainer.loggers))
        shown = "train_loss", "validation_loss", "validation_roc_auc"
        logging.info("epoch %d: %s", row["epoch"], ", ".join(f"{name} {row[name]:.4f}" for name in shown))

    def _losses(self, split: str, outputs, batch) -> dict[str, tuple[Tensor, Tensor]]:
        """Task -> (sum, count) by sample; they enter the epoch's means by the pairs or angles that they count."""
        parts, options = all_losses(outputs, batch, self.model.options), self.model.options
        by_sample = {task: total / count.clamp(min=1) for task, (total, count) in parts.items()}
        require_finite(weighted(by_sample, options).detach(), batch["ids"], self.global_step)
        for task, (total, count) in parts.items():
            self.totals[f"{split}_{task}"] += total.sum().item(), count.sum().item()
        return parts

    def _score(self, windows):
        for chain, predicted, _ in stitched(windows, self.lengths):
            probability, truth = predicted["contact"], self.validation_samples.chains[chain].contact_map
            for name, score in _SCORES.items():
                self.scores[name].append(score(*resolved_pairs(probability, truth)))

    def state_dict(self, *arguments, **settings):
        """What is trained alone: frozen layers come from the backbones' own files."""
        return trained_state(self.model)

    def load_state_dict(self, state, strict=True):
        load_trained_state(self.model, state)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["history"] = self.history.rows

    def on_load_checkpoint(self, checkpoint):
        if self.trainer.is_global_zero:
            self.history.restore(checkpoint["history"])

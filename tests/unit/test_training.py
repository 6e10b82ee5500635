import logging

import lightning
import pytest
import torch
from torch import nn

from hardfold.training import (
    History,
    NonFiniteLoss,
    ProgressLog,
    build_trainer,
    count_parameters,
    load_trained_state,
    require_finite,
    seed_everything,
    trained_state,
)


def partly_frozen():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    return model


def test_seeds_repeat_and_threads_are_kept():
    seed_everything(5)
    first = torch.rand(3)
    seed_everything(5)
    assert torch.equal(first, torch.rand(3))
    assert torch.get_num_threads() == 1


def test_history_grows_by_rows_and_leaves_the_unknown_empty(tmp_path):
    history = History(tmp_path / "history.csv", ["epoch", "loss", "auc"])
    history.append({"epoch": 1, "loss": 0.5})
    history.append({"epoch": 2, "loss": 0.25, "auc": float("nan")})
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,auc\n1,0.5,\n2,0.25,\n"
    with pytest.raises(ValueError, match="no column lost"):
        history.append({"lost": 1})


def test_a_loss_that_is_not_finite_names_its_sample_and_step():
    require_finite(torch.tensor([1.0, 2.0]), ["1abc_A", "2xyz_B"], 7)
    with pytest.raises(NonFiniteLoss, match=r"step 7 for 2xyz_B \(nan\) of 1abc_A"):
        require_finite(torch.tensor([1.0, torch.nan]), ["1abc_A", "2xyz_B"], 7)


def test_the_trained_state_holds_what_is_trained_and_comes_back():
    model, other = partly_frozen(), partly_frozen()
    state = trained_state(model)
    assert set(state) == {"1.weight", "1.bias"}
    load_trained_state(other, state)
    assert torch.equal(other[1].weight, model[1].weight)
    assert not torch.equal(other[0].weight, model[0].weight)
    assert count_parameters(model) == {"trainable": 3, "total": 11}
    with torch.no_grad():
        model[1].bias += 1
    assert not torch.equal(state["1.bias"], model[1].bias)  # a copy


def test_a_state_of_other_names_is_refused():
    with pytest.raises(ValueError, match=r"missing \['1.bias'\], unexpected \['2.bias'\]"):
        load_trained_state(partly_frozen(), {"1.weight": torch.zeros(1, 2), "2.bias": torch.zeros(1)})


class OneWeight(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def training_step(self, batch, index):
        return (self.weight * batch.sum()).square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(4, 1), batch_size=1)


def test_progress_is_logged_with_the_time_left(caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        trainer = build_trainer(callbacks=[ProgressLog("run", every=0)], max_epochs=2)
        trainer.fit(OneWeight())
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("run:")]
    assert len(lines) == 8
    assert lines[0].startswith("run: step 1 of 8 (epoch 1), loss 1.0000, about ")
    assert lines[-1].endswith("about 0 s left")
    assert not list(tmp_path.iterdir())  # no checkpoints, no logs of Lightning's own

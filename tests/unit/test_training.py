import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hardfold.training import (
    History,
    NonFiniteLoss,
    count_parameters,
    load_trained_state,
    require_finite,
    seed_everything,
    trained_state,
)

ROOT = Path(__file__).parents[2]


def partly_frozen():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    return model


def test_seeds_repeat_and_threads_are_kept():
    seed_everything(5)
    first = torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
    seed_everything(5)
    assert torch.equal(first[0], torch.rand(3)) and first[1:] == (np.random.rand(), random.random())  # noqa: NPY002
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
    with pytest.raises(ValueError, match=r"\(missing: 1.bias; unexpected: 2.bias\)"):
        load_trained_state(partly_frozen(), {"1.weight": torch.zeros(1, 2), "2.bias": torch.zeros(1)})


def test_a_state_of_other_shapes_is_refused():
    with pytest.raises(ValueError, match=r"do not fit the model \(of another shape: 1.weight\)"):
        load_trained_state(partly_frozen(), {"1.weight": torch.zeros(1, 3), "1.bias": torch.zeros(1)})


def test_a_history_goes_on_from_rows_of_before(tmp_path):
    first, second = (History(tmp_path / name, ["epoch", "loss"]) for name in ("a.csv", "b.csv"))
    first.append({"epoch": 1, "loss": 0.1})
    second.restore(first.rows)
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    for history in (first, second):
        history.append({"epoch": 2})
    assert (tmp_path / "b.csv").read_text() == (tmp_path / "a.csv").read_text() == "epoch,loss\n1,0.1\n2,\n"


@pytest.mark.parametrize("module", ["hardfold.contact.predict", "hardfold.folding.predict", "hardfold.training"])
def test_prediction_and_evaluation_do_without_lightning(module):
    program = f"import sys, {module}; print('lightning' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "False\n"

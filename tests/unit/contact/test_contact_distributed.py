"""Training in several processes: what one alone comes to, faults, kills, and runs that are gone on with."""

import csv
import json
import logging
import os
import signal
from pathlib import Path

import pytest
import torch

from hardfold import distributed
from hardfold.contact.model import ContactModel
from hardfold.contact.module import ContactModule
from hardfold.contact.train import train_experiment
from hardfold.dataset import Dataset
from hardfold.distributed import RankError

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that knows of a GPU cannot be forked")
RESULTS = ("model.safetensors", "history.csv", "config.json")


def history(folder):
    rows = csv.DictReader((folder / "history.csv").read_text().splitlines())
    return [{name: float(value) for name, value in row.items()} for row in rows]


def record(folder):
    return json.loads((folder / "training.json").read_text())


# 7 chains: batches of 3, 3 and 1 or of 2, 2, 2 and 1, of which one process has nothing to do. Chains 0 and 5 have an
# alignment of one row, which leaves parameters of a trained alignment model without a gradient.
CASES = [
    {},
    {"devices": 3},
    {"batch_size": 2, "max_tokens_per_batch": None, "accumulate_batches": 3},
    {"num_layers_to_freeze_msa": 0, "distance_loss_type": "cross_entropy", "main_task": "distance"},
]


@pytest.mark.parametrize("changes", CASES)
def test_several_processes_come_to_what_one_does(run, changes):
    one, several = run("one", **{**changes, "devices": 1}), run("several", **{"devices": 2, **changes})
    losses = [name for name in history(one)[0] if not name.endswith("_auc")]
    for alone, together in zip(history(one), history(several), strict=True):
        assert [together[name] for name in losses] == pytest.approx([alone[name] for name in losses], rel=1e-5)
        # A pair that changes places with its neighbour by rank moves the area of so small chains by about 1e-3.
        assert together == pytest.approx(alone, abs=5e-3)
    names = "steps", "epochs", "best_epoch", "parameters"
    assert [record(several)[name] for name in names] == [record(one)[name] for name in names]


@pytest.mark.parametrize("changes", CASES)
def test_gradients_and_validation_of_the_same_weights_are_equal(run, tmp_path, monkeypatch, changes):
    def still(optimizer, closure):
        closure()
        gradients = [[p.grad for p in group["params"]] for group in optimizer.param_groups]
        step = len(list(tmp_path.glob(f"{devices}-*.pt")))
        if distributed.rank() == 0:
            torch.save(gradients, tmp_path / f"{devices}-{step}.pt")

    monkeypatch.setattr(torch.optim.AdamW, "step", still)
    for devices in (1, changes.get("devices", 2)):
        folder = run(str(devices), **{**changes, "devices": devices}, num_epochs=1, gradient_clip=0)
        (row,) = history(folder)
        if devices == 1:
            alone = row
    assert row == pytest.approx(alone, rel=1e-6)
    files = sorted(tmp_path.glob("1-*.pt"))
    assert len(files) > 1 or "accumulate_batches" in changes
    for file in files:
        one, several = (torch.load(path)[0] for path in (file, file.with_name(f"{devices}{file.name[1:]}")))
        scale = max(float(gradient.abs().max()) for gradient in one if gradient is not None)
        for a, b in zip(one, several, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-6 * scale)


def test_rank_zero_alone_writes_and_logs(run, tmp_path, monkeypatch):
    writers, replace = tmp_path / "writers", os.replace

    def watched(*arguments):
        with open(writers, "a") as file:
            file.write(f"{distributed.rank()}\n")
        return replace(*arguments)

    monkeypatch.setattr(os, "replace", watched)
    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(logging.getLogger(), "level", logging.INFO)
    try:
        run(devices=2)
    finally:
        logging.getLogger().removeHandler(handler)
    assert set(writers.read_text().split()) == {"0"}
    log = (tmp_path / "log").read_text()
    assert log.count("epoch 1: train_loss") == log.count("best epoch") == 1


def test_residues_of_all_processes_are_counted_once(run, monkeypatch, tmp_path):
    def counted(module):
        (tmp_path / f"{distributed.ranks()}-{distributed.rank()}").write_text(str(module.residues))

    monkeypatch.setattr(ContactModule, "on_fit_end", counted)
    for devices in (1, 2):
        run(str(devices), devices=devices, batch_size=2, num_epochs=1)
    one, *two = (int((tmp_path / name).read_text()) for name in ("1-0", "2-0", "2-1"))
    assert sum(two) == one and min(two) > 0


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_and_names_the_chain(run, chain_files, tmp_path, monkeypatch):
    name, forward = Dataset(chain_files["train"]).ids[2], ContactModel.forward

    def broken(model, batch):
        outputs = forward(model, batch)
        if name in batch["ids"]:
            outputs["distance"][batch["ids"].index(name)] = torch.nan
        return outputs

    monkeypatch.setattr(ContactModel, "forward", broken)
    with pytest.raises(RankError, match=rf"rank [01] of 2: NonFiniteLoss: the loss is not finite .* for {name} \(nan"):
        run(devices=2)
    assert not (tmp_path / "exp/model.safetensors").exists()


def deadly(step):
    """ContactModule.training_step of a process of which rank 1 is killed in training step number `step`."""
    training_step, count = ContactModule.training_step, iter(range(1, 1000))

    def deadly(self, batch, index):
        if next(count) == step and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return training_step(self, batch, index)

    return deadly


LONG = {"num_epochs": 3, "use_scheduler": True, "t_0": 2, "accumulate_batches": 2}


def test_a_run_of_several_processes_repeats_bit_for_bit_and_goes_on_so(run, monkeypatch, tmp_path):
    whole, again = run("whole", devices=2, **LONG), run("again", devices=2, **LONG)
    with monkeypatch.context() as patch, pytest.raises(RankError, match="rank 1 of 2: SIGKILL"):
        patch.setattr(ContactModule, "training_step", deadly(8))
        run("killed", devices=2, **LONG)
    assert (tmp_path / "killed-state/last.ckpt").is_file()
    killed = run("killed", devices=2, **LONG)
    for name in RESULTS:
        assert (killed / name).read_bytes() == (again / name).read_bytes() == (whole / name).read_bytes()


def test_state_of_another_number_of_processes_is_not_gone_on_from(run, monkeypatch, caplog):
    with monkeypatch.context() as patch, pytest.raises(RankError):
        patch.setattr(ContactModule, "training_step", deadly(8))
        run("killed", devices=2, **LONG)
    with caplog.at_level(logging.WARNING):
        after = run("after", state="killed", **LONG)
    assert "is of a run with other options.devices: starting anew" in caplog.text
    fresh = run("fresh", **LONG)
    for name in RESULTS:
        assert (after / name).read_bytes() == (fresh / name).read_bytes()


def test_processes_without_a_chain_to_validate_are_refused(run):
    with pytest.raises(RankError, match=r"devices: 4, but \S+/validation.h5 has 3 chains"):
        run(devices=4)


def test_devices_need_their_processes(options, weight_folders, tmp_path):
    with pytest.raises(ValueError, match="devices: 2, but there are 1 processes"):
        train_experiment(
            experiment="exp", options={**options, "devices": 2}, seed=1, threads=1, **weight_folders,
            train=Path("train.h5"), validation=Path("validation.h5"), embeddings=tmp_path, state=tmp_path,
            output=tmp_path,
        )  # fmt: skip

import logging
import re
from pathlib import Path

import lightning
import pytest
import torch
from torch import nn

from hardfold.trainer import LAST, ProgressLog, build_trainer, checkpoints, resume_point


class OneWeight(lightning.LightningModule):
    """The weight falls; `score` is what the epochs are judged by."""

    def __init__(self, scores=()):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.scores = scores

    def training_step(self, batch, index):
        return (self.weight * batch.sum()).square().sum()

    def on_train_epoch_end(self):
        if self.scores:
            self.log("score", self.scores[self.current_epoch])
        self.log("epoch", self.current_epoch + 1.0)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(4, 1), batch_size=1)


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("run:")]


def test_progress_is_logged_with_the_time_left(caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        trainer = build_trainer(callbacks=[ProgressLog("run", every=0)], max_epochs=2)
        trainer.fit(OneWeight())
    lines = messages(caplog)
    assert len(lines) == 8
    assert lines[0].startswith("run: step 1 of 8 (epoch 1), loss 1.0000, about ")
    assert lines[-1].endswith("about 0 s left")
    assert not list(tmp_path.iterdir())  # no checkpoints, no logs of Lightning's own


def test_progress_counts_steps_where_batches_are_accumulated(caplog):
    with caplog.at_level(logging.INFO):
        trainer = build_trainer(callbacks=[ProgressLog("run", every=0)], max_epochs=1, accumulate_grad_batches=2)
        trainer.fit(OneWeight())
    assert [line.split(",")[0] for line in messages(caplog)] == [
        "run: step 1 of 2 (epoch 1)",
        "run: step 2 of 2 (epoch 1)",
    ]


def test_lightning_says_nothing_of_its_own(caplog):
    with caplog.at_level(logging.INFO):
        build_trainer(max_epochs=1).fit(OneWeight())
    assert not caplog.records


@pytest.mark.parametrize(
    ("maximise", "scores", "kept"),
    [
        (True, [0.1, 0.3, 0.2, 0.3], {2, 4}),
        (False, [0.1, 0.3, 0.2, 0.3], {1, 3}),
        (True, [0.5, 0.5, 0.5, 0.5], {1, 2}),  # of equals the earlier
        (True, [float("nan"), 0.2, 0.1, float("nan")], {2, 3}),
    ],
)
def test_the_best_epochs_and_the_last_are_kept(tmp_path, maximise, scores, kept):
    callbacks = checkpoints(tmp_path, "score", maximise, 2)
    build_trainer(callbacks=callbacks, max_epochs=4).fit(OneWeight(scores))
    last = tmp_path / LAST
    assert {file.name.split("-")[0] for file in tmp_path.iterdir() if file != last} == {f"epoch={n}" for n in kept}
    best = max(kept, key=lambda n: (scores[n - 1] if maximise else -scores[n - 1], -n))
    assert Path(callbacks[0].best_model_path).name.startswith(f"epoch={best}-score=")
    state = torch.load(last, weights_only=True)
    assert state["epoch"] == 3 and state["global_step"] == 16


def test_a_checkpoint_that_is_not_written_whole_is_not_there(tmp_path, monkeypatch):
    build_trainer(callbacks=checkpoints(tmp_path, "score", True, 1), max_epochs=1).fit(OneWeight([0.1]))
    before = (tmp_path / LAST).read_bytes()

    def half(content, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        build_trainer(callbacks=checkpoints(tmp_path, "score", True, 1), max_epochs=2).fit(OneWeight([0.1, 0.2]))
    assert (tmp_path / LAST).read_bytes() == before
    assert not [file for file in tmp_path.iterdir() if file.read_bytes() == b"half"]


IDENTITY = {"seed": 1, "options": {"rate": 0.1, "rows": None}, "weights": {"esm2": {"files": {"a.pt": "12"}}}}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 2}, "seed"),
        ({"options": {"rate": 0.2, "rows": None}}, "options.rate"),
        ({"options": {"rate": 0.1, "rows": 3, "new": 1}}, "options.new, options.rows"),
        ({"weights": {"esm2": {"files": {"a.pt": "34"}}}}, "weights.esm2"),
    ],
)
def test_only_the_very_same_run_is_gone_on_with(tmp_path, caplog, change, named):
    folder = tmp_path / "state"
    assert resume_point(folder, IDENTITY) is None
    assert resume_point(folder, IDENTITY) is None  # nothing to go on from yet
    torch.save({}, folder / LAST)
    assert resume_point(folder, IDENTITY) == folder / LAST
    assert resume_point(folder, {**IDENTITY, **change}) is None
    assert f"is of a run with other {named}: starting anew" in caplog.text
    assert not (folder / LAST).exists() and resume_point(folder, {**IDENTITY, **change}) is None


def test_what_a_complete_run_left_is_cleared_away(tmp_path):
    resume_point(tmp_path / "state", IDENTITY)
    (tmp_path / "state/epoch=3-score=0.5.ckpt").write_text("best")
    assert resume_point(tmp_path / "state", IDENTITY) is None
    assert [file.name for file in (tmp_path / "state").iterdir()] == ["config.json"]


class Payload:
    def __reduce__(self):
        return (print, ("a checkpoint ran code",))


def spoil(what, folder):
    if what == "code in the state":
        torch.save({"state_dict": Payload()}, folder / LAST)
    elif what == "no record":
        (folder / "config.json").unlink()
    else:
        path = folder / ("config.json" if what == "half a record" else LAST)
        path.write_bytes(path.read_bytes()[: 0 if what == "an empty state" else -40])


@pytest.mark.parametrize("what", ["half a state", "an empty state", "code in the state", "half a record", "no record"])
def test_what_cannot_be_gone_on_from_is_told_and_cleared_away(tmp_path, caplog, capsys, what):
    folder = tmp_path / "state"
    resume_point(folder, IDENTITY)
    torch.save({"state_dict": {"weight": torch.ones(100)}}, folder / LAST)
    assert resume_point(folder, IDENTITY) == folder / LAST
    spoil(what, folder)
    assert resume_point(folder, IDENTITY) is None
    assert re.search(r"last\.ckpt cannot be gone on from \(.*\): starting anew", caplog.text)
    assert [file.name for file in folder.iterdir()] == ["config.json"] and resume_point(folder, IDENTITY) is None
    assert "a checkpoint ran code" not in capsys.readouterr().out


def test_state_that_cannot_be_removed_is_no_run_of_this_identity(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    resume_point(folder, IDENTITY)
    before = (folder / "config.json").read_text()

    def stuck(*_, **__):
        raise OSError("stuck")

    monkeypatch.setattr("shutil.rmtree", stuck)
    with pytest.raises(OSError, match="stuck"):
        resume_point(folder, {**IDENTITY, "seed": 99})
    assert (folder / "config.json").read_text() == before

"""Processes on several machines, which are this one: a stand-in for srun starts them (two_nodes/srun)."""

import os
import sys

import pytest
import torch

from hardfold.distributed import RankError
from hardfold.nodes import launch

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the two machines are one: they have the same GPUs")

WORK = """
import logging, os, signal, time
from pathlib import Path
from hardfold.distributed import from_rank_zero, rank, ranks, summed
from hardfold.trainer import build_trainer

def tell(folder):
    heard = from_rank_zero(lambda: rank())
    logging.info("told by %d", rank())
    trainer = build_trainer(max_epochs=1)
    place = f"{trainer.global_rank} {trainer.node_rank} {trainer.local_rank}"
    place += f" of {trainer.num_nodes}x{trainer.num_devices}"
    Path(folder, str(rank())).write_text(f"{summed([rank()])} {heard} {ranks()} {place}")

def fail(folder, how):
    Path(folder, f"{rank()}.pid").write_text(str(os.getpid()))
    summed([0])
    if rank() == 1:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError("no such shard")
    time.sleep(60)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A module of functions that the started processes can import as this one can."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/work_of_ranks.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    import work_of_ranks

    yield work_of_ranks
    del sys.modules["work_of_ranks"]


def test_one_node_is_this_process():
    seen = []
    launch(1, 1, lambda value: seen.append((value, os.getpid())), value=3)
    assert seen == [(3, os.getpid())]


def test_ranks_are_shared_among_nodes_in_order_and_rank_zero_alone_logs(two_nodes, work, tmp_path, capfd):
    launch(2, 4, work.tell, folder=tmp_path)
    # To Lightning, too: rank, node and the place on it.
    places = ["0 0 0", "1 0 1", "2 1 0", "3 1 1"]
    assert [(tmp_path / str(r)).read_text() for r in range(4)] == [f"[6.0] 0 4 {place} of 2x2" for place in places]
    log = capfd.readouterr().err
    assert log.count(" INFO told by 0") == 1 and "told by 1" not in log


@pytest.mark.parametrize(
    ("how", "message"),
    [("raise", "ended with 1; rank 1 of 2: OSError: no such shard"), ("kill", "in the log, ended with 137$")],
)
def test_a_fault_on_the_second_node_ends_all_and_is_told(two_nodes, work, tmp_path, how, message):
    with pytest.raises(RankError, match=message):
        launch(2, 2, work.fail, folder=tmp_path, how=how)
    pids = [int(file.read_text()) for file in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_several_nodes_without_slurm_are_refused(work, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ValueError, match="nodes: 2, but this is no job of Slurm"):
        launch(2, 2, work.tell, folder=tmp_path)

"""Several processes: sums, what rank zero alone computes, and no process left behind."""

import os
import signal
import time

import pytest
import torch

from hardfold.distributed import RankError, from_rank_zero, launch, rank, ranks, summed

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a process that knows of a GPU cannot be forked")


def test_one_process_is_this_one():
    seen = []
    launch(
        1,
        lambda value: seen.append((value, os.getpid(), rank(), ranks(), summed([1.5]), from_rank_zero(dict))),
        value=3,
    )
    assert seen == [(3, os.getpid(), 0, 1, [1.5], {})]


def test_processes_sum_and_hear_rank_zero(tmp_path):
    def work():
        heard = from_rank_zero(lambda: {"from": rank(), "process": os.getpid()})
        (tmp_path / str(rank())).write_text(f"{summed([1, 2.0**40 + rank()])} {heard} {ranks()}")

    launch(3, work)
    texts = {(tmp_path / str(r)).read_text() for r in range(3)}
    assert len(texts) == 1 and f"[3.0, {3 * 2.0**40 + 3}] {{'from': 0" in texts.pop()


def wait_for(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("waited for too long")


def alive(file):
    try:
        os.kill(int(file.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


def hang(folder, fault=None):
    """Rank 1 does `fault` once all are there; the others wait for a sum that it takes no part in."""
    (folder / f"{rank()}.pid").write_text(str(os.getpid()))
    summed([0])
    if rank() == 1 and fault:
        fault()
    if rank() == 1:
        time.sleep(60)
    summed([0])


def fail():
    raise OSError("no such shard")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (fail, "rank 1 of 3: OSError: no such shard"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "rank 1 of 3: SIGKILL"),
    ],
)
def test_a_rank_that_fails_ends_all_and_is_named(tmp_path, fault, message):
    start = time.monotonic()
    with pytest.raises(RankError, match=message):
        launch(3, hang, folder=tmp_path, fault=fault)
    assert time.monotonic() - start < 30
    assert not any(alive(file) for file in tmp_path.glob("*.pid"))


def test_no_rank_outlives_a_launcher_that_is_killed(tmp_path):
    launcher = os.fork()
    if launcher == 0:
        try:
            launch(2, hang, folder=tmp_path)
        finally:
            os._exit(0)
    wait_for(lambda: len([file for file in tmp_path.glob("*.pid") if file.read_text()]) == 2)
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    wait_for(lambda: not any(alive(file) for file in tmp_path.glob("*.pid")))

"""Training in several processes, each on a GPU of its own, or all on the CPU (gloo).

A rank is a process: 0, 1, ... of so many. Rank zero alone writes files and logs. `launch` starts them on one machine,
`hardfold.nodes.launch` on several.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, get_context
from typing import Any

import torch
from torch import distributed
from torch.distributed import FileStore, Store
from torch.multiprocessing import _prctl_pr_set_pdeathsig as die_with_parent

from hardfold.training import device

_FAULT = "fault"


class RankError(RuntimeError):
    """A process that failed, the first to do so; the message says which, and why."""


def launch(ranks: int, work: Callable, **arguments) -> None:
    """Run `work(**arguments)` in `ranks` processes and wait for all; a single one is this process itself.

    The processes are forked, so this one must not have used the GPU. When one fails the others are ended at once, and
    RankError is raised; its traceback goes to stderr. None outlives this process.
    """
    if ranks == 1:
        work(**arguments)
        return
    fork = get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        processes = [fork.Process(target=_run, args=(r, ranks, folder, work, arguments)) for r in range(ranks)]
        try:
            for process in processes:
                process.start()
            while running := [process.sentinel for process in processes if process.exitcode is None]:
                connection.wait(running)
                if any(process.exitcode for process in processes):
                    break
        finally:
            failed = {r: process.exitcode for r, process in enumerate(processes) if process.exitcode}
            for process in processes:
                process.kill()
                process.join()
        if failed:
            killed = [f"rank {r} of {ranks}: {signal.Signals(-code).name}" for r, code in failed.items() if code < 0]
            raise RankError("; ".join(killed + first_fault(_store(folder))))


def _store(folder):
    return FileStore(f"{folder}/store")


def _run(r, ranks, folder, work, arguments):
    # Not SIGTERM, which Lightning catches: a rank that waits for another would never hear it.
    die_with_parent(signal.SIGKILL)
    run_rank(0, r, ranks, ranks, _store(folder), work, arguments)


def run_rank(
    node: int, local: int, each: int, ranks: int, store: Store, work: Callable, arguments: Mapping[str, Any]
) -> None:
    """Run `work(**arguments)` as the process `local` of `each` on machine `node`, of `ranks` in all.

    store: through it they find each other, and `first_fault` tells what an exception said that ended one.
    """
    rank = node * each + local
    # By these Lightning, and local_ranks, know that the processes are there and which this is.
    os.environ |= {"NODE_RANK": str(node), "LOCAL_RANK": str(local), "LOCAL_WORLD_SIZE": str(each)}
    try:
        gpus = torch.cuda.device_count()
        if 0 < gpus < each:
            raise ValueError(f"devices: {each} on this machine, but there are {gpus} GPUs")
        if gpus:
            torch.cuda.set_device(local)
        if rank:
            logging.getLogger().setLevel(logging.ERROR)
        distributed.init_process_group("nccl" if gpus else "gloo", store=store, rank=rank, world_size=ranks)
        work(**arguments)
        # Its threads would otherwise abort a process that ends by itself.
        distributed.destroy_process_group()
    except BaseException as fault:
        # The first counts: the others fail because this one is gone.
        store.compare_set(_FAULT, "", f"rank {rank} of {ranks}: {type(fault).__name__}: {fault}")
        raise


def first_fault(store: Store) -> list[str]:
    """What ended the first process that an exception ended, if one did."""
    return [store.get(_FAULT).decode()] if store.check([_FAULT]) else []


def rank() -> int:
    """Which of the processes this is."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def ranks() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_ranks() -> int:
    """How many processes there are on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if distributed.is_initialized() else 1


def summed(values: Sequence[float]) -> list[float]:
    """The sums over all processes, which must all call this; float64."""
    if ranks() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device())
    distributed.all_reduce(total)
    return total.tolist()


def from_rank_zero(compute: Callable[[], Any]) -> Any:
    """What `compute()` gives in rank zero, where alone it runs, for all processes, which must all call this."""
    if ranks() == 1:
        return compute()
    result = [compute() if rank() == 0 else None]
    distributed.broadcast_object_list(result)
    return result[0]

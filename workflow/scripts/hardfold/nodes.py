"""Training on several machines: inside a job of Slurm, whose srun starts a process for each rank and ends them all.

The network between the machines is trusted, as everywhere with torch.distributed. What is to be run does not come over
it: srun hands that to each process (standard input).
"""

import json
import os
import pkgutil
import socket
import subprocess
import sys
from collections.abc import Callable

from torch.distributed import TCPStore

from hardfold import distributed
from hardfold.distributed import RankError, first_fault, run_rank
from hardfold.jobs import log_to_stderr

# What srun would take for options of the step.
OF_THE_ALLOCATION = (
    "SLURM_CPUS_PER_TASK",
    "SRUN_CPUS_PER_TASK",
    "SLURM_TRES_PER_TASK",
    "SLURM_GPUS_PER_TASK",
    "SLURM_GPU_BIND",
)


def launch(nodes: int, ranks: int, work: Callable, **arguments) -> None:
    """`hardfold.distributed.launch` with the `ranks`, a multiple of `nodes`, shared evenly among so many machines.

    On several this must run on the first machine of a Slurm job that has them; `work` is a function of a module, the
    `arguments` are paths and plain values. All log to this process's stderr. When one fails Slurm ends the others at
    once, and RankError is raised. None outlives the Slurm job.
    """
    if nodes == 1:
        distributed.launch(ranks, work, **arguments)
        return
    if "SLURM_JOB_ID" not in os.environ:
        raise ValueError(f"nodes: {nodes}, but this is no job of Slurm, which alone starts processes on other machines")
    # Here, and not in rank zero: a port that is free, and faults that outlive the ranks.
    host = socket.gethostname()
    store = TCPStore(host, 0, is_master=True, wait_for_workers=False)
    each = ranks // nodes
    call = {"host": host, "port": store.port, "ranks": ranks, "each": each}
    call |= {"work": f"{work.__module__}:{work.__qualname__}", "arguments": arguments}
    # The allocation has a task a node; the step's tasks share its CPUs and see all its GPUs, unbound, as processes that
    # a job forks on one machine.
    cpus = max(1, int(os.environ.get("SLURM_CPUS_PER_TASK", each)) // each)
    step = [f"--nodes={nodes}", f"--ntasks={ranks}", f"--ntasks-per-node={each}", f"--cpus-per-task={cpus}"]
    step += ["--overcommit", "--cpu-bind=none", "--overlap", "--kill-on-bad-exit=1"]
    words = ["srun", *step, sys.executable, "-m", __name__]
    text = json.dumps(call, default=os.fspath)
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_ALLOCATION}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)  # what this process imports from, they can, too
    done = subprocess.run(words, input=text, text=True, stdout=sys.stderr, stderr=sys.stderr, env=environment)
    if done.returncode:
        ended = f"srun, whose words are in the log, ended with {done.returncode}"
        raise RankError("; ".join([ended, *first_fault(store)]))


def _run() -> None:
    """What srun starts: a rank."""
    log_to_stderr()
    call = json.load(sys.stdin)
    store = TCPStore(call["host"], call["port"], is_master=False, wait_for_workers=False)
    node, local = (int(os.environ[name]) for name in ("SLURM_NODEID", "SLURM_LOCALID"))
    work = pkgutil.resolve_name(call["work"])
    run_rank(node, local, call["each"], call["ranks"], store, work, call["arguments"])


if __name__ == "__main__":
    _run()

"""Nodes without a network: after the downloads, the daemons and Snakemake in a namespace that has loopback alone."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from submitted import TIMEOUT, Submitted
from tiny_run import ROOT, build_folder, command, environment, needs_search_tools

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slurm,
    needs_search_tools,
    pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("ip")), reason="no unshare or ip"),
]

INSIDE = """
ip link set lo up
ip addr add 127.0.0.2/8 dev lo  # with 127.0.0.1 alone glibc finds no address to listen on (AI_ADDRCONFIG)
! ip route get 192.0.2.1 2>/dev/null || exit 3  # the network must be gone
here=$1 folder=$2
trap 'bash "$here/stop.sh" "$folder"' EXIT
bash "$here/start.sh" "$folder" || exit
shift 2
"$@"
"""


def test_every_step_after_the_downloads_runs_without_a_network(tmp_path):
    run = Submitted(build_folder(tmp_path))
    fetch = ["--cores", "2", "--until", "download_structures", "fetch_weights", "--", *run.targets]
    subprocess.run(command(run.folder, *fetch, change=run.change), check=True, env=environment(), cwd=ROOT)
    inside = ["unshare", "--net", "bash", "-c", INSIDE, "inside", HERE, tmp_path / "slurm", *run.words()]
    pipes = {"capture_output": True, "text": True, "env": environment(), "cwd": ROOT, "timeout": TIMEOUT}
    began = time.monotonic()
    done = subprocess.run(inside, **pipes)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    assert "rule download_structures" not in said and "rule fetch_weights" not in said
    assert all((run.folder / target).is_file() for target in run.targets)
    run.log.write_text(said)
    run.seconds = time.monotonic() - began
    run.record("nodes without a network", "every step after the downloads passed")

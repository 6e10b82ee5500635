"""Nodes without a network: after the downloads, the daemons and Snakemake in a namespace that has loopback alone."""

import shutil
import subprocess
from pathlib import Path

import pytest
from submitted import CHANGE, TARGETS, TIMEOUT
from tiny_run import ROOT, build_folder, command, environment, needs_search_tools

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.slurm,
    needs_search_tools,
    pytest.mark.skipif(not (shutil.which("unshare") and shutil.which("ip")), reason="no unshare or ip"),
]

INSIDE = """
ip link set lo up
[ "$(ls /sys/class/net 2>/dev/null | wc -l)" -le 1 ] || ip -brief link
! ip route get 192.0.2.1 2>/dev/null || exit 3
bash "$1/start.sh" "$2" || exit
trap 'bash "$1/stop.sh" "$2"' EXIT
shift 2
"$@"
"""


def test_every_step_after_the_downloads_runs_without_a_network(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    build_folder(folder)
    fetch = command(
        folder, "--cores", "2", "--until", "download_structures", "fetch_weights", "--", *TARGETS, change=CHANGE
    )
    subprocess.run(fetch, check=True, capture_output=True, env=environment(), cwd=ROOT)
    words = [
        "--profile",
        ROOT / "profiles/slurm-squeue",
        "--jobs",
        "3",
        "--slurm-init-seconds-before-status-checks",
        "3",
    ]
    submit = command(folder, *words, "--latency-wait", "10", "--", *TARGETS, change=CHANGE)
    run = subprocess.run(
        ["unshare", "--net", "bash", "-c", INSIDE, "inside", HERE, tmp_path / "slurm", *submit],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=ROOT,
        timeout=TIMEOUT,
    )
    if run.returncode == 77:
        pytest.skip(run.stderr.strip())
    said = run.stdout + run.stderr
    assert run.returncode == 0, said[-6000:]
    assert "download_structures" not in said and "has been submitted with SLURM jobid" in said
    assert all((folder / target).is_file() for target in TARGETS)

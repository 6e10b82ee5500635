"""The log of a job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("log", ["job.log", "/dev/full"])
def test_a_fault_is_told_in_the_log_or_where_its_disk_is_full_on_the_terminal(tmp_path, log):
    job = f"from hardfold.jobs import start_log; start_log({log!r}); raise OSError('no space left')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", job], cwd=tmp_path, env=environment, capture_output=True, text=True)
    told = run.stderr if log == "/dev/full" else (tmp_path / log).read_text()
    assert run.returncode and told.count("OSError: no space left") == 1
    assert log == "/dev/full" or not run.stderr

"""The scripts of profiles/cluster-generic, on schedulers of a few lines of shell that talk as the real ones do."""

import os
import subprocess
import time
from pathlib import Path

import pytest

PROFILE = Path(__file__).parents[2] / "profiles/cluster-generic"


@pytest.fixture
def scheduler(tmp_path):
    """Put commands into a folder; returns a function that runs one of the profile's scripts with them."""

    def put(**commands):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, text in commands.items():
            (folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (folder / name).chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}

        def run(script, *arguments, **variables):
            words = [str(PROFILE / script), *arguments]
            done = subprocess.run(
                words, cwd=tmp_path, env=environment | variables, capture_output=True, text=True, check=True
            )
            return done.stdout.strip()

        return run

    return put


ECHO = 'echo $0 "$@" >> asked; '


@pytest.mark.parametrize(
    ("commands", "id", "asked"),
    [
        (
            {"bsub": ECHO + "cat > /dev/null; echo 'Job <417> is submitted to queue <normal>.'"},
            "417",
            ["-n 4", "-M 6000", "-W 02:05", "-gpu num=1", "-q long"],
        ),
        (
            {"qsub": ECHO + "echo 417", "qacct": ""},
            "417",
            ["-pe smp 4", "h_vmem=1500M", "h_rt=02:05:00", "-l gpu=1", "-q long"],
        ),
        (
            {"qsub": ECHO + "echo 417.server"},
            "417.server",
            ["select=1:ncpus=4:mem=6000mb:ngpus=1", "walltime=02:05:00", "-q long"],
        ),
    ],
    ids=["LSF", "SGE", "PBS"],
)
def test_a_job_is_submitted_with_its_resources(scheduler, tmp_path, commands, id, asked):
    (tmp_path / "job.sh").write_text("true\n")
    run = scheduler(**commands)
    assert run("submit.sh", "train", "4", "6000", "125", "1", "job.sh", HARDFOLD_SUBMIT="-q long") == id
    line = (tmp_path / "asked").read_text()
    assert all(words in line for words in asked)
    run("submit.sh", "train", "1", "500", "10", "0", "job.sh")
    assert "gpu" not in (tmp_path / "asked").read_text().splitlines()[1]


@pytest.mark.parametrize(
    ("commands", "status"),
    [
        ({"bjobs": "echo PEND"}, "running"),
        ({"bjobs": "echo RUN"}, "running"),
        ({"bjobs": "echo DONE"}, "success"),
        ({"bjobs": "echo EXIT"}, "failed"),
        ({"bjobs": "exit 255"}, "running"),
        ({"qstat": "exit 0", "qacct": "exit 1"}, "running"),
        ({"qstat": "exit 1", "qacct": "exit 1"}, "running"),
        ({"qstat": "exit 1", "qacct": r"printf 'failed       0\nexit_status  0\n'"}, "success"),
        ({"qstat": "exit 1", "qacct": r"printf 'failed       0\nexit_status  1\n'"}, "failed"),
        ({"qstat": "exit 1", "qacct": r"printf 'failed       37 : qmaster enforced h_rt\nexit_status  0\n'"}, "failed"),
        ({"qstat": r"printf '    job_state = R\n'"}, "running"),
        ({"qstat": r"printf '    job_state = F\n    Exit_status = 0\n'"}, "success"),
        ({"qstat": r"printf '    job_state = F\n    Exit_status = 271\n'"}, "failed"),
        ({"qstat": r"printf '    job_state = F\n'"}, "failed"),
        ({"qstat": "exit 35"}, "running"),
    ],
)
def test_the_status_is_one_word(scheduler, commands, status):
    assert scheduler(**commands)("status.sh", "417") == status


def test_a_job_that_stays_unknown_has_failed(scheduler, tmp_path):
    run = scheduler(bjobs="exit 255")
    assert run("status.sh", "417") == "running"
    (lost,) = tmp_path.glob("hardfold-lost-*")
    os.utime(lost, (time.time() - 700,) * 2)
    assert run("status.sh", "417") == "failed"
    scheduler(bjobs="echo RUN")("status.sh", "417")
    assert not lost.exists()


def test_jobs_are_cancelled_by_their_ids(scheduler, tmp_path):
    scheduler(qdel=ECHO)("cancel.sh", "1", "2")
    assert (tmp_path / "asked").read_text().split()[-2:] == ["1", "2"]

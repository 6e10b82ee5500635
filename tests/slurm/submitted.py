"""A tiny run through a Slurm profile: started, disturbed, finished, compared."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_run import ROOT, command, default_command, environment, fingerprint

# Both tracks to a trained and a scored end, in jobs few enough for two cores: one shard, one experiment, one arm.
CHANGE = {"shard_size": 20, "folding": {"arms": ["disjoint"]}}
TARGETS = ["results/experiments/exp1/metrics.json", "results/folding/disjoint/seed1/predictions.tsv"]
TRAINED = ["experiments", "checkpoints", "folding"]
# The node claims more cores than there are.
THREADS = ["--set-threads", "build_database=2", "search_alignments=2", "build_splits=2"]
TIMEOUT = 3600  # seconds: on two cores that others use, too

rows: list[tuple[str, ...]] = []


def wait_for(condition: Callable[[], object], what: str, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds} s still not: {what}")
        time.sleep(0.2)


class Submitted:
    """The run of a folder: `start`, `wait_until_running`, `send`, `finish`, in any order and number."""

    def __init__(
        self, folder: Path, profile: str = "slurm-squeue", change: dict | None = CHANGE, targets: list[str] = TARGETS
    ):
        self.folder, self.profile, self.change, self.targets = folder, profile, change, targets
        self.process, self.log = None, folder / "run.log"

    def words(self, *arguments: str) -> list[str]:
        """The command of the run, on the embedded default where there is no `change` to the tiny configuration."""
        words = ["--profile", ROOT / "profiles" / self.profile, "--jobs", "3", "--latency-wait", "10", *THREADS]
        words += ["--slurm-init-seconds-before-status-checks", "3", *arguments, "--", *self.targets]
        if self.change is None:
            return default_command(self.folder, *words)
        return command(self.folder, *words, change=self.change)

    def start(self, *arguments: str) -> "Submitted":
        self.began = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                self.words(*arguments),
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                cwd=ROOT,
                # What runs in the background of a shell ignores it, and so would its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        return self

    def queue(self, rule: str, states: str) -> list[list[str]]:
        """Slurm's id and requested memory of this run's jobs of a rule, in the order of their submission."""
        words = ["squeue", "--noheader", "--sort=i", "--format=%i|%m|%k|%Z", f"--states={states}"]
        lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        jobs = [line.split("|") for line in lines]
        return [job[:2] for job in jobs if job[2].startswith(f"rule_{rule}") and job[3] == str(self.folder)]

    def jobs(self, rule: str = "", states: str = "PENDING,RUNNING") -> list[str]:
        return [id for id, _ in self.queue(rule, states)]

    def wait_until_running(self, rule: str) -> str:
        wait_for(lambda: self.jobs(rule, "RUNNING") or self.process.poll() is not None, f"{rule} runs", TIMEOUT)
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return self.jobs(rule, "RUNNING")[0]

    def send(self, number: signal.Signals) -> str:
        """Send a signal to Snakemake itself, wait until it has ended, and return what it said."""
        self.process.send_signal(number)
        self.process.wait(timeout=120)
        return self.log.read_text()

    def finish(self, code: int = 0, timeout: int = TIMEOUT) -> str:
        """Wait for the end and return what Snakemake said."""
        try:
            self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"not ended after {timeout} s:\n{self.log.read_text()[-3000:]}")
        said = self.log.read_text()
        assert self.process.returncode == code, said[-6000:]
        self.seconds = time.monotonic() - self.began
        return said

    def end(self) -> None:
        """End Snakemake and its jobs, if a test has left them."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if left := self.jobs():
            subprocess.run(["scancel", *left], check=True)

    def results(self) -> dict[str, str]:
        return fingerprint(self.folder / "results")

    def before_training(self, folder: Path) -> "Submitted":
        """A copy of this finished run as it was when its data, but no model, had been made."""
        shutil.copytree(self.folder, folder, symlinks=True)
        for name in TRAINED:
            shutil.rmtree(folder / "results" / name, ignore_errors=True)
        return Submitted(folder, self.profile, self.change, self.targets)

    def record(self, what: str, how: str) -> None:
        submitted = self.log.read_text().count("has been submitted with SLURM jobid")
        rows.append((what, f"{self.seconds:.0f}", str(submitted), how))

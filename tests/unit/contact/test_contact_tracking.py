"""MLflow tracking against a real MLflow server on loopback, with its SQLite store; and none of it where it is off."""

import csv
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from hardfold import tracking
from hardfold.contact.module import ContactModule
from hardfold.contact.train import train_experiment
from hardfold.tracking import TrackingError
from hardfold.training import NonFiniteLoss

ROOT = Path(__file__).parents[3]
PACKAGES = ROOT / ".cache/mlflow"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(address, database) of an MLflow server."""
    if not PACKAGES.is_dir():
        pytest.skip("the MLflow server of envs/mlflow-server.lock is not installed (make test does it)")
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address, database = f"http://127.0.0.1:{port}", folder / "mlflow.db"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(folder / "artifacts")]
    settings = {"PYTHONPATH": str(PACKAGES), "MLFLOW_DISABLE_TELEMETRY": "true"}
    settings["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **settings}, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        wait_for(address, process, folder / "log")
        yield address, database
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def wait_for(address, process, log):
    for _ in range(360):
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(f"{address}/health", timeout=5).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise TimeoutError(log.read_text())


@pytest.fixture
def run(options, weight_folders, chain_files, tmp_path):
    def run(tracked, name="exp", **changes):
        train_experiment(
            experiment="exp7", options={**options, **changes}, seed=3, threads=1, **weight_folders,
            train=chain_files["train"], validation=chain_files["validation"],
            embeddings=chain_files["train"].parent / "embeddings",
            state=tmp_path / f"{name}-state", output=tmp_path / name, tracked=tracked,
        )  # fmt: skip
        return tmp_path / name

    return run


def settings(server, **changes):
    return {"tracking_uri": server[0], "experiment_name": "contacts", "run_name": "", **changes}


def rows(server, query, *values):
    """Read the server's own database."""
    with sqlite3.connect(server[1]) as connection:
        return connection.execute(query, values).fetchall()


def the_run(server, experiment):
    (found,) = rows(
        server,
        "select r.run_uuid, r.name, r.status from runs r join experiments e using (experiment_id) where e.name = ?",
        experiment,
    )
    return found


def test_options_and_epochs_are_on_the_server(server, run):
    folder = run(settings(server, run_name="night"), num_epochs=3)
    identity, name, status = the_run(server, "contacts")
    assert (name, status) == ("night-exp7", "FINISHED")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"  # to no other server
    parameters = dict(rows(server, "select key, value from params where run_uuid = ?", identity))
    assert parameters["seed"] == "3" and parameters["learning_rate"] == "0.01" and parameters["num_epochs"] == "3"
    assert set(parameters) == {"seed", *json.loads((folder / "config.json").read_text())["options"]}
    history = list(csv.DictReader((folder / "history.csv").read_text().splitlines()))
    for column in history[0]:
        found = rows(server, "select value from metrics where run_uuid = ? and key = ? order by step", identity, column)
        assert [value for (value,) in found] == pytest.approx([float(row[column]) for row in history], rel=1e-6), column


def test_a_run_that_fails_is_marked_and_goes_on_in_its_place(server, run, monkeypatch):
    step = ContactModule.training_step

    def broken(self, batch, index):
        if self.current_epoch == 1:
            raise NonFiniteLoss("the loss is not finite")
        return step(self, batch, index)

    tracked = settings(server, experiment_name="broken")
    with monkeypatch.context() as patch, pytest.raises(NonFiniteLoss):
        patch.setattr(ContactModule, "training_step", broken)
        run(tracked)
    first, _, status = the_run(server, "broken")
    assert status == "FAILED"
    run(tracked)
    again, name, status = the_run(server, "broken")
    assert (again, name, status) == (first, "exp7", "FINISHED")
    assert rows(server, "select count(*) from metrics where run_uuid = ? and key = 'epoch'", first) == [(2,)]


def test_what_is_tracked_does_not_change_the_result(server, run):
    tracked, plain = run(settings(server, experiment_name="same"), "tracked"), run(None, "plain")
    for name in ("model.safetensors", "history.csv", "config.json"):
        assert (tracked / name).read_bytes() == (plain / name).read_bytes()


def test_an_experiment_that_another_run_makes_meanwhile_is_used(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    client = MlflowClient(server[0])
    for _ in range(2):
        tracking._create_experiment(client, "race")
    assert rows(server, "select count(*) from experiments where name = 'race'") == [(1,)]


def test_a_server_that_does_not_answer_is_named_at_once(run):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(TrackingError, match=rf"tracking\.tracking_uri: {address} cannot be used"):
        run({"tracking_uri": address, "experiment_name": "none", "run_name": ""})
    assert time.monotonic() - start < 30


def test_without_tracking_nothing_of_mlflow_is_imported(options, weight_folders, chain_files, tmp_path):
    arguments = {
        **{key: str(path) for key, path in weight_folders.items()},
        **{split: str(chain_files[split]) for split in ("train", "validation")},
        "embeddings": str(chain_files["train"].parent / "embeddings"),
        "state": str(tmp_path / "state"), "output": str(tmp_path / "exp"),
        "experiment": "exp", "seed": 1, "threads": 1, "options": {**options, "num_epochs": 1},
    }  # fmt: skip
    program = (
        "import json, sys\n"
        "from hardfold.contact.train import train_experiment\n"
        "train_experiment(**json.loads(sys.argv[1]))\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('mlflow', 'databricks', 'opentelemetry')])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow/scripts")}
    command = [sys.executable, "-c", program, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]" and (tmp_path / "exp" / "history.csv").is_file()

"""MLflow tracking of a training run. MLflow, which takes seconds, is imported only where a run is tracked."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import requests

from hardfold.tables import write_json

_RECORD = "tracking.json"  # in the folder of a run's state: its MLflow run, for a run that was cut short


class TrackingError(RuntimeError):
    """A tracking server that cannot be used; the message names its address."""


def logger(settings: Mapping, config: Mapping, state: Path):
    """Lightning's MLFlowLogger for the run of `config` (experiment, seed, options, weights).

    settings: tracking_uri, the http address of an MLflow server; experiment_name; run_name, put before the experiment's
    own name where it is not empty. A run that goes on from `state` goes on in its MLflow run. Raises TrackingError.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # what is tracked goes to tracking_uri alone
    from lightning.pytorch.loggers import MLFlowLogger
    from mlflow import MlflowClient, MlflowException

    address, name = settings["tracking_uri"], settings["experiment_name"]
    try:
        requests.get(address, timeout=10)  # MLflow itself would try again for minutes
        client = MlflowClient(address)
        if client.get_experiment_by_name(name) is None:
            _create_experiment(client, name)
    except (requests.RequestException, MlflowException) as fault:
        raise TrackingError(f"tracking.tracking_uri: {address} cannot be used ({fault})") from None
    record = Path(state, _RECORD)
    known = json.loads(record.read_text()) if record.is_file() else {}
    run = known["run"] if known.get("tracking_uri") == address else None
    if run:
        client.update_run(run, status="RUNNING")
    run_name = "-".join(filter(None, [settings["run_name"], config["experiment"]]))
    tracker = MLFlowLogger(name, run_name=run_name, tracking_uri=address, run_id=run)
    write_json(record, {"tracking_uri": address, "run": tracker.run_id})
    tracker.log_hyperparams({"seed": config["seed"], **config["options"]})
    return tracker


def _create_experiment(client, name):
    from mlflow import MlflowException

    try:
        client.create_experiment(name)
    except MlflowException as fault:
        if fault.error_code != "RESOURCE_ALREADY_EXISTS":  # a run beside this one was faster
            raise

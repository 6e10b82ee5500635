"""What Slurm is asked for; a controller that is away does not turn the status queries from squeue to sacct."""

from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
import yaml
from snakemake.iocontainers import ResourceList
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from hardfold.job_inputs import training_resources, training_threads
from hardfold.jobs import LIBRARY
from hardfold.slurm import remember_min_job_age


def test_min_job_age_is_known_while_the_controller_is_away(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text("#!/bin/sh\necho 'MinJobAge               = 300 sec'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(plugin, "get_min_job_age", plugin.get_min_job_age)  # put back after the test
    remember_min_job_age()
    scontrol.write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    assert plugin.get_min_job_age() == 300
    # The status queries look it up where it was put.
    assert "get_min_job_age" in plugin.Executor.check_active_jobs.__code__.co_names


@pytest.mark.parametrize("profile", ["slurm", "slurm-squeue"])
def test_status_queries_without_an_answer_are_asked_again_for_hours(profile):
    settings = yaml.safe_load((LIBRARY.parents[2] / "profiles" / profile / "config.yaml").read_text())
    assert settings["slurm-status-attempts"] / settings["max-status-checks-per-second"] > 3 * 3600


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"devices": 2, "nodes": 1}, "--mem 8000 --cpus-per-task=4 --gpus=2"),
        ({"devices": 4, "nodes": 2}, "--mem 8000 --nodes=2 --ntasks=2 --cpus-per-task=4 --gres=gpu:2"),
    ],
)
def test_a_training_is_submitted_with_what_each_node_needs(options, asked):
    resources = ResourceList(fromdict={"mem_mb": 8000, **training_resources(options)})
    job = SimpleNamespace(resources=resources, threads=training_threads({**options, "num_workers": 1}))
    given = dict.fromkeys(("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir"), "")
    words = (get_submit_command(job, given) + set_gres_string(job)).split()
    assert words[words.index("--mem") :] == asked.split()

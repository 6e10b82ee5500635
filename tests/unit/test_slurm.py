"""A controller that is away does not turn the status queries from squeue to sacct."""

import pytest
import snakemake_executor_plugin_slurm as plugin
import yaml

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

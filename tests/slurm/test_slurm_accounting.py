"""profiles/slurm, with accounting and two fake GPUs: the tiny configuration and the embedded default, whole."""

import pytest
from submitted import TIMEOUT, Submitted
from tiny_run import build_folder, link_inputs, needs_search_tools

pytestmark = [pytest.mark.slurm, needs_search_tools]
CLUSTER = ["--accounting"]


def run_whole(folder, change, what):
    run = Submitted(folder, "slurm", change, ["all"])
    try:
        run.start().finish(timeout=4 * TIMEOUT)
        assert (folder / "results/report/report.html").is_file()
        run.record(what, "to the report")
        assert "Nothing to be done" in run.start("--dry-run").finish()
    finally:
        run.end()


def test_the_whole_tiny_configuration_on_two_gpus(cluster, tmp_path):
    run_whole(build_folder(tmp_path), {}, "the whole tiny configuration, accounting")


def test_the_whole_embedded_default_on_two_gpus(cluster, tmp_path):
    run_whole(link_inputs(tmp_path), None, "the whole embedded default, accounting")

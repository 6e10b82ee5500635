"""profiles/slurm, on a Slurm with accounting: two fake GPUs, the whole tiny configuration."""

import pytest
from submitted import Submitted
from tiny_run import build_folder, needs_search_tools

pytestmark = [pytest.mark.slurm, needs_search_tools]
CLUSTER = ["--accounting"]


def test_the_whole_tiny_configuration_on_two_gpus(cluster, tmp_path):
    run = Submitted(build_folder(tmp_path), "slurm", {}, ["all"])
    run.start().finish()
    assert (run.folder / "results/report/report.html").is_file()
    run.record("the whole tiny configuration, accounting", "to the report")
    assert "Nothing to be done" in run.start("--dry-run").finish()

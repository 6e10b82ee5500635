"""A made-up results folder for the report's tests, written once; tests that change a file copy it first."""

import shutil

import pytest
from made_up_results import GAINS, write_results

from hardfold.report.results import read_results


@pytest.fixture(scope="session")
def made_up(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("made_up") / "results")


@pytest.fixture(scope="session")
def results(made_up):
    return read_results(made_up)


@pytest.fixture(scope="session")
def every_arm(tmp_path_factory):
    """Results of a run of all arms, two of them trained on folds or on each target's own sequence."""
    return read_results(write_results(tmp_path_factory.mktemp("every_arm") / "results", arms=list(GAINS)))


@pytest.fixture
def own_results(made_up, tmp_path):
    """A copy that the test may change."""
    return shutil.copytree(made_up, tmp_path / "results")

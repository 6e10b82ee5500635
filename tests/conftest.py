"""One undisturbed run of the tiny configuration for all tests of a session."""

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A working directory with the tiny configuration."""
    import tiny  # imports torch, which most tests do without

    folder = tmp_path_factory.mktemp("tiny")
    tiny.build(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_folder):
    """The same with all its results. Tests leave them as they are."""
    import tiny

    run = tiny.snakemake(tiny_folder)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    (tiny_folder / "run.log").write_text(run.stdout + run.stderr)
    return tiny_folder

"""A disk that is full, then read-only, under the real Snakefile: told in words, and mended by room alone."""

import subprocess

import pytest
from tiny_run import CHAINS, TARGETS, build_folder, command, environment

pytestmark = pytest.mark.workflow
TABLE = "results/structures/qc.tsv"


def remount(disk, option):
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def test_a_full_and_a_read_only_disk_are_told_and_with_room_the_run_goes_on(tmp_path, small_disk, fill):
    words = command(build_folder(tmp_path), "--cores", "2", TABLE)
    (tmp_path / "results").symlink_to(small_disk)

    def run():
        done = subprocess.run(words, capture_output=True, text=True, env=environment())
        return done.returncode, done.stdout + done.stderr

    fill(leave=90_000)
    status, said = run()
    assert status and "No space left on device" in said
    remount(small_disk, "size=16m")
    remount(small_disk, "ro")
    status, said = run()
    assert status and "Read-only file system" in said
    remount(small_disk, "rw")
    assert run()[0] == 0
    assert len((tmp_path / TABLE).read_text().splitlines()) == 1 + CHAINS + 1 + TARGETS

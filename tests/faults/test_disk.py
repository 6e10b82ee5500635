"""A disk that is full, then read-only, under the real Snakefile: told in words, and mended by room alone."""

import subprocess

import pytest
import tiny

pytestmark = pytest.mark.workflow
TARGET = "results/structures/qc.tsv"


def remount(disk, option):
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


def test_a_run_on_a_full_and_on_a_read_only_disk_says_so_and_goes_on_where_there_is_room(tmp_path, small_disk, fill):
    tiny.build(tmp_path)
    (tmp_path / "results").symlink_to(small_disk)
    fill(leave=90_000)
    full = tiny.snakemake(tmp_path, TARGET)
    assert full.returncode and "No space left on device" in full.stdout + full.stderr
    remount(small_disk, "size=16m")
    remount(small_disk, "ro")
    read_only = tiny.snakemake(tmp_path, TARGET)
    assert read_only.returncode and "Read-only file system" in read_only.stdout + read_only.stderr
    remount(small_disk, "rw")
    assert tiny.snakemake(tmp_path, TARGET).returncode == 0
    assert len((tmp_path / TARGET).read_text().splitlines()) == 1 + tiny.CHAINS + 1 + tiny.TARGETS

import shutil
import subprocess

import pytest
from made_up_searches import SEQUENCE, save_sequences

from hardfold.tools import ToolError, find_tool, run_tool

OTHER = SEQUENCE[::-1]
# Ends the searches of OTHER by a signal: those before the others are done, or all.
CRASH = (
    "if sequence == {other!r} and open({calls!r}).read().count({other!r}) <= {times}: os.kill(os.getpid(), {signal})"
)


@pytest.mark.parametrize("signal", [9, 11])
def test_a_crash_is_tried_again_alone_once_the_others_are_done(run, hhblits, tmp_path, signal):
    calls = hhblits(CRASH.format(other=OTHER, calls=str(tmp_path / "calls"), times=1, signal=signal))
    _, table = run(threads=1)
    assert table["status"].tolist() == ["ok"] * 3
    assert calls() == [SEQUENCE, OTHER, OTHER]


def test_a_crash_that_comes_again_is_told_with_its_signal_and_advice(run, hhblits, tmp_path):
    calls = hhblits(CRASH.format(other=OTHER, calls=str(tmp_path / "calls"), times=9, signal=11))
    folder, table = run()
    assert table["status"].tolist() == ["ok", "ok", "failed"]
    assert "signal 11 (Segmentation fault)" in table.loc["1ccc_C", "reason"]
    assert "memory" in table.loc["1ccc_C", "reason"]
    assert (folder / "1ccc_C.a3m").read_text() == f">query\n{OTHER}\n"
    assert calls().count(OTHER) == 2


def test_a_build_for_another_cpu_stops_the_job_before_any_search(run, hhblits, program):
    calls = hhblits()
    program("hhblits", "os.kill(os.getpid(), signal.SIGILL)")
    with pytest.raises(ToolError, match=r"signal 4 \(Illegal instruction\): a build for another CPU"):
        run()
    assert not calls()


def test_an_illegal_instruction_in_a_search_stops_the_job(run, hhblits, tmp_path):
    calls = hhblits("os.kill(os.getpid(), signal.SIGILL)")
    many = save_sequences(tmp_path / "many.h5", {f"1aa{digit}_A": SEQUENCE + "A" * digit for digit in range(1, 9)})
    with pytest.raises(ToolError, match="a build for another CPU"):
        run(chains=many, threads=1)
    assert len(calls()) < 8


@pytest.mark.skipif(
    not (shutil.which("qemu-x86_64") and shutil.which("hhblits-avx2", path="/usr/libexec/hhsuite")),
    reason="needs qemu-user and Debian's builds of HH-suite",
)
def test_real_builds_for_another_cpu_die_when_asked_for_help(program):
    program("hhblits", 'os.execvp("qemu-x86_64", ["qemu-x86_64", "-cpu", "Nehalem", {!r}, *argv[1:]])'.format(
        "/usr/libexec/hhsuite/hhblits-avx2"
    ))  # fmt: skip
    with pytest.raises(ToolError, match="a build for another CPU"):
        run_tool("hhblits", "-h")


@pytest.mark.skipif(not shutil.which("hhblits"), reason="needs HH-suite")
def test_the_build_that_is_found_runs_on_this_cpu():
    assert subprocess.run([find_tool("hhblits"), "-h"], capture_output=True).stdout.startswith(b"HHblits 3")

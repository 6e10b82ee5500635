"""External programs, run by argument list, their own words in the error."""

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Debian keeps a build for each instruction set, the best first (HH-suite in this folder): its wrapper on the PATH hides
# signals, and its link for cstranslate is broken.
_DEBIAN_FOLDER = "/usr/libexec/hhsuite"
_BUILDS = {"avx2": "avx2", "avx": "avx", "sse4.1": "sse4_1", "ssse3": "ssse3", "sse3": "pni"}  # suffix: CPU flag

_ADVICE = {
    signal.SIGILL: "a build for another CPU; install one for the instructions that this CPU has (see /proc/cpuinfo)",
    signal.SIGKILL: "mostly too little memory",
}


class ToolError(RuntimeError):
    """An external program that is missing or failed; the message carries its own words."""


class ToolCrash(ToolError):
    """An external program that a signal ended."""

    def __init__(self, name: str, number: int):
        self.signal = number
        advice = _ADVICE.get(number, "mostly a wrong or incomplete database, or too little memory")
        super().__init__(f"{name} was ended by signal {number} ({signal.strsignal(number)}): {advice}")


def find_tool(name: str) -> str:
    """The program on the PATH; where that is Debian's wrapper or nothing, Debian's build for this CPU."""
    found = shutil.which(name)
    if found and Path(found).resolve().name != "simd-dispatch":
        return found
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    for suffix in [*(suffix for suffix, flag in _BUILDS.items() if flag in flags), "plain"]:
        if build := shutil.which(f"{name}-{suffix}", path=f"{os.environ['PATH']}{os.pathsep}{_DEBIAN_FOLDER}"):
            return build
    raise ToolError(f"{name} is not installed: HH-suite (hhsuite) and MMseqs2 (mmseqs2) are needed, see README.md")


def run_tool(name: str, *arguments, **environment) -> str:
    """Run a program and return what it printed; raises ToolError with the end of that, ToolCrash with advice where a
    signal ended it.
    """
    command = [find_tool(name), *map(str, arguments)]
    logging.debug("%s", " ".join(command))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", env={**os.environ, **environment}
    )
    if done.returncode == 0:
        return done.stdout
    # A shell in between reports a signal as 128 + its number.
    number = -done.returncode if done.returncode < 0 else done.returncode - 128
    if number in set(signal.Signals):
        raise ToolCrash(name, number)
    raise ToolError(f"{name} failed with exit status {done.returncode}: {_last_lines(done.stdout)}")


def write_fasta(path: Path, sequences: Mapping[str, str]) -> None:
    """Write id -> sequence, sorted by id: what is built from the file depends on its content alone."""
    Path(path).write_text("".join(f">{id}\n{sequence}\n" for id, sequence in sorted(sequences.items())))


def _last_lines(output, count=5):
    return " | ".join([line.strip() for line in output.splitlines() if line.strip()][-count:]) or "it said nothing"

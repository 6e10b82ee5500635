"""What a run was made with: configuration, inputs by hash, package and tool versions, code, host and date."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import hardfold
from hardfold.tables import sha256, write_json

REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?==")
# Tool -> the command that tells its version, and where in its output.
TOOLS = {"hhblits": (["hhblits", "-h"], r"HHblits (\S+?):?\s"), "mmseqs": (["mmseqs", "version"], r"(\S+)")}


def provenance(config: Mapping, requirements: Path, inputs: Iterable[Path]) -> dict:
    """The record as plain values; what cannot be told (no git, a tool that is absent) is None."""
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {
            "name": platform.node(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
        },
        **code_version(Path(hardfold.__file__).parent),
        "packages": package_versions(requirements),
        "tools": {name: tool_version(command, pattern) for name, (command, pattern) in TOOLS.items()},
        "inputs": {str(path): sha256(path) for path in sorted(map(Path, inputs))},
        "config": dict(config),
    }


def package_versions(requirements: Path) -> dict[str, str | None]:
    """Name -> installed version, for every `name==version` line of a requirements file."""
    names = filter(None, map(REQUIREMENT.match, Path(requirements).read_text().splitlines()))
    return {name: _installed(name) for name in sorted(match[1].lower() for match in names)}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def tool_version(command: list[str], pattern: str) -> str | None:
    """The version that a tool prints; None where the tool is absent or says nothing of the kind."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        return None
    match = re.search(pattern, done.stdout)
    return match[1] if match else None


def code_version(folder: Path) -> dict[str, str | bool | None]:
    """Commit of the repository that holds `folder`, and whether files that git knows differ from it."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": None if commit is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write_provenance(path: Path, config: Mapping, requirements: Path, inputs: Iterable[Path]) -> None:
    record = provenance(config, requirements, inputs)
    write_json(path, record)

import json
import subprocess
import sys
from importlib import metadata

import pytest

from hardfold import provenance


def test_versions_of_the_pinned_packages(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# pins\n--index-url x\nnumpy==1.0 \\\n    --hash=sha256:00\nNo-Such-Package==2\nsnakemake[reports]==9\n"
    )
    assert provenance.package_versions(lock) == {
        "no-such-package": None,
        "numpy": metadata.version("numpy"),
        "snakemake": metadata.version("snakemake"),
    }


@pytest.mark.parametrize(
    ("name", "printed", "version"),
    [
        ("hhblits", "HHblits 3.3.0:\nHMM-HMM-based iterative search", "3.3.0"),
        ("mmseqs", "14-7e284+ds-1+b2\n", "14-7e284+ds-1+b2"),
    ],
)
def test_tool_versions_are_read_from_what_the_tool_prints(name, printed, version):
    _, pattern = provenance.TOOLS[name]
    assert provenance.tool_version([sys.executable, "-c", f"print({printed!r})"], pattern) == version


def test_an_absent_tool_has_no_version():
    assert provenance.tool_version(["no-such-tool-anywhere", "-h"], "(.*)") is None


def test_code_version_of_a_repository_and_of_a_plain_folder(tmp_path):
    assert provenance.code_version(tmp_path) == {"commit": None, "modified": None}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    (tmp_path / "file").write_text("one")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "test"]):
        subprocess.run([*git, *arguments], check=True)
    first = provenance.code_version(tmp_path)
    assert len(first["commit"]) == 40
    assert first["modified"] is False
    (tmp_path / "file").write_text("two")
    assert provenance.code_version(tmp_path) == first | {"modified": True}


def test_the_record_holds_configuration_and_hashes(tmp_path):
    (tmp_path / "lock").write_text("numpy==1\n")
    (tmp_path / "input.tsv").write_text("abc")
    path = tmp_path / "results/provenance.json"
    provenance.write_provenance(path, {"seed": 1}, tmp_path / "lock", [tmp_path / "input.tsv"])
    record = json.loads(path.read_text())
    assert record["config"] == {"seed": 1}
    # sha256 of "abc", FIPS 180-2, appendix B.1
    assert record["inputs"] == {
        str(tmp_path / "input.tsv"): "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }
    assert set(record) == {"written", "host", "commit", "modified", "packages", "tools", "inputs", "config"}

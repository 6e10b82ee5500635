"""The CASP configuration on what is at hand: natives and sequences from mirror folders, embedded chains, no network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from hardfold.dataset import Dataset

ROOT = Path(__file__).parents[2]
CASP = ROOT.parent / "shared/data/casp"
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(not shutil.which("mmseqs"), reason="MMseqs2 is not installed"),
    pytest.mark.skipif(not CASP.is_dir(), reason="the shared CASP natives are not beside the repository"),
]
LENGTHS = {"T1024": 408, "T1030": 273, "T1033": 100, "T0950": 353, "T0953s2": 249}
MIRRORS = ["natives_casp14", "natives_casp13", "fasta_casp14_full", "fasta_deepdist_casp13"]


def read(path):
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def test_the_case_studies_come_out_of_mirror_folders_without_network_and_weights(tmp_path):
    for name in ("config", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    targets = read(ROOT / "config/casp/targets.tsv")
    targets[targets["target"].isin(LENGTHS)].to_csv(tmp_path / "targets.tsv", sep="\t", index=False)
    change = {
        "inputs": {
            "chains": read(ROOT / "resources/demo/chains.tsv")["chain"].head(12).tolist(),
            "targets": "targets.tsv",
            "mirror": [*(str(CASP / name) for name in MIRRORS), "resources/demo/structures"],
            "offline": True,
        },
        "alignments": {"provider": "mmseqs2", "database": "", "cache": "cache"},
        "splits": {"validation": 0.2, "test": 0.2},
    }
    (tmp_path / "here.yaml").write_text(yaml.safe_dump(change))
    command = [sys.executable, "-m", "snakemake", "dataset", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path]
    command += ["--cores", "2", "--configfile", "config/casp.yaml", tmp_path / "here.yaml"]
    run = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    dataset = Dataset(tmp_path / "results/dataset/target.h5")
    assert dict(zip(dataset.ids, dataset.lengths(), strict=True)) == LENGTHS
    audit = read(tmp_path / "results/splits/audit.tsv").set_index("chain")
    assert (audit.loc[list(LENGTHS), "same_entry"] == "no").all()
    assert (audit["date_barrier"] == "unknown").all()

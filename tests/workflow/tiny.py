"""The tiny configuration that tests run to its end: real chains, few sequences to search, untrained models."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from hardfold import backbones
from hardfold.folding.model import build_model, save_model, tiny_config

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
CHAINS, TARGETS, SEQUENCES = 14, 4, 120

OPTIONS = {
    "shard_size": 6,
    "inputs": {"chains": "chains.tsv", "targets": "targets.tsv"},
    "alignments": {"pool": "pool.fasta", "cache": "cache", "iterations": 1},
    "splits": {"validation": 0.2, "test": 0.2},
    "weights": {"folder": "models"},
    "experiments": {
        "defaults": {
            "esm2_name": "esm2_t2_tiny",
            "esm_msa_name": "esm_msa1b_t2_tiny",
            "num_msa_rows": 4,
            "num_layers_to_freeze_esm2": 1,
            "num_layers_to_freeze_msa": 2,
            "fusion_dim": 8,
            "fusion_num_layers": 1,
            "fusion_num_heads": 2,
            "num_epochs": 2,
        },
        # --configfile merges over the embedded default: its experiments stay, exp6 gets the larger of the two.
        "runs": {"exp6": {"esm2_name": "esm2_t3_tiny", "num_layers_to_freeze_esm2": 2}},
    },
    "folding": {
        "model": "esmfold_tiny",
        "seeds": [1],
        "adapter": {"blocks": 2, "rank": 2, "alpha": 2},
        "training": {"steps": 3, "warmup": 1, "batch_size": 2, "crop": 24, "validate_every": 2},
        "recycles": 0,
    },
    "scoring": {"random_walks": 3, "bootstrap": 200},
}


def build(folder: Path) -> None:
    """Fill a working directory: chains, targets, pool, models, `tiny.yaml`."""
    for name in ("config", "resources"):
        (folder / name).symlink_to(ROOT / name)
    demo = ROOT / "resources/demo"
    chains = pd.read_csv(demo / "chains.tsv", sep="\t", dtype=str, keep_default_na=False).head(CHAINS)
    # One chain whose file is not in the mirror: it must be reported, not stop the run.
    chains.loc[len(chains)] = {"chain": "9zzz_A"}
    chains.fillna("").to_csv(folder / "chains.tsv", sep="\t", index=False)
    targets = pd.read_csv(demo / "targets.tsv", sep="\t", dtype=str, keep_default_na=False)
    targets.groupby("class").head(TARGETS // 2).to_csv(folder / "targets.tsv", sep="\t", index=False)
    with gzip.open(demo / "pool.fasta.gz", "rt") as pool:
        (folder / "pool.fasta").write_text("".join(pool.readline() for _ in range(2 * SEQUENCES)))
    models = folder / "models"
    models.mkdir()
    torch.manual_seed(0)
    backbones.save(backbones.build_esm2(2, 16, 2)[0], models / "esm2_t2_tiny.pt")
    backbones.save(backbones.build_esm2(3, 16, 2)[0], models / "esm2_t3_tiny.pt")
    backbones.save(backbones.build_esm_msa(2, 16, 2)[0], models / "esm_msa1b_t2_tiny.pt")
    save_model(build_model(tiny_config()), models / "esmfold_tiny")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(OPTIONS))


def command(folder: Path, *arguments, change: dict | None = None) -> list[str]:
    """Snakemake on the real Snakefile in `folder`; `change` is merged over the tiny configuration."""
    (folder / "change.yaml").write_text(yaml.safe_dump(change or {}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", folder / "tiny.yaml", folder / "change.yaml", "--cores", "2", *arguments]
    return list(map(str, command))


def snakemake(folder: Path, *arguments, change: dict | None = None) -> subprocess.CompletedProcess:
    """Run `command` to its end."""
    return subprocess.run(command(folder, *arguments, change=change), capture_output=True, text=True, env=ENVIRONMENT)

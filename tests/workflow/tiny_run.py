"""The tiny run that tests on engines share: its folder, its command, and what two runs of it must have in common.

Real chains and the real pool's sequences, fewer of them; models of the right architectures with untrained weights.
"""

import csv
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from hardfold import backbones
from hardfold.folding.adapters import save_alignment
from hardfold.folding.alignment import AlignmentAdapter
from hardfold.folding.model import build_model, save_model, tiny_config

ROOT = Path(__file__).parents[2]
CHAINS, TARGETS, SEQUENCES = 14, 4, 120
# Values that tell of time, memory, place or code: they alone may differ between two runs on CPUs.
DECLARED = {"seconds", "training_seconds", "validation_seconds", "cached", "peak_memory_mb"}
DECLARED |= {"residues_per_second", "tokens_per_second"}
# Files that carry such values among others; checkpoints, which are no results, their own place.
DECLARED_FILES = ("logs/", "benchmarks/", "report/", "provenance.json", "checkpoints/")

needs_search_tools = pytest.mark.skipif(
    not (shutil.which("hhblits") and shutil.which("mmseqs")), reason="HH-suite or MMseqs2 is not installed"
)

OPTIONS = {
    "shard_size": 6,
    "inputs": {"chains": "chains.tsv", "targets": "targets.tsv", "reference_scores": "reference.tsv"},
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
            "num_epochs": 1,
        },
        # --configfile merges over the embedded default: its experiments stay, exp6 gets the larger of the two.
        "runs": {
            "exp4": {"devices": 2},
            "exp6": {"esm2_name": "esm2_t3_tiny", "num_layers_to_freeze_esm2": 2},
        },
    },
    "folding": {
        "model": "esmfold_tiny",
        "arms": [
            *["baseline_alignment", "disjoint", "disjoint_alignment", "leave_one_out", "test_time", "test_time_oracle"],
            *["memorisation", "control_shuffled_labels", "control_swapped_alignment", "nearest_training"],
        ],
        "seeds": [1],
        "leave_one_out": {"folds": 2},
        "test_time": {"language_model": "esm2_t1_tiny", "steps": 2, "every": 1, "batch_size": 1},
        "adapter": {"blocks": 2, "rank": 2, "alpha": 2},
        "training": {"steps": 3, "warmup": 1, "batch_size": 2, "crop": 24, "validate_every": 2},
        "recycles": 0,
    },
    "scoring": {"random_walks": 3, "bootstrap": 200},
}


def link_inputs(folder: Path) -> Path:
    """Give a working directory the embedded configuration and data: what a run of the default needs."""
    for name in ("config", "resources"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def build_folder(folder: Path) -> Path:
    """Fill a working directory with a small part of the embedded data, untrained models and tiny.yaml."""
    link_inputs(folder)
    demo = ROOT / "resources/demo"
    chains = pd.read_csv(demo / "chains.tsv", sep="\t", dtype=str, keep_default_na=False).head(CHAINS)
    # One chain whose file is not in the mirror: it must be reported, not stop the run.
    chains.loc[len(chains)] = {"chain": "9zzz_A"}
    chains.fillna("").to_csv(folder / "chains.tsv", sep="\t", index=False)
    targets = pd.read_csv(demo / "targets.tsv", sep="\t", dtype=str, keep_default_na=False)
    targets = targets.groupby("class").head(TARGETS // 2)
    targets.to_csv(folder / "targets.tsv", sep="\t", index=False)
    published = {"target": targets["target"].head(1), "unit": "chain", "source": "as published", "tm": 0.4321}
    pd.DataFrame(published).to_csv(folder / "reference.tsv", sep="\t", index=False)
    with gzip.open(demo / "pool.fasta.gz", "rt") as pool:
        (folder / "pool.fasta").write_text("".join(pool.readline() for _ in range(2 * SEQUENCES)))
    models = folder / "models"
    models.mkdir()
    torch.manual_seed(0)
    backbones.save(backbones.build_esm2(2, 16, 2)[0], models / "esm2_t2_tiny.pt")
    backbones.save(backbones.build_esm2(3, 16, 2)[0], models / "esm2_t3_tiny.pt")
    backbones.save(backbones.build_esm_msa(2, 16, 2)[0], models / "esm_msa1b_t2_tiny.pt")
    stem, folding = backbones.build_esm2(1, 8, 2)[0], build_model(tiny_config())
    backbones.save(stem, models / "esm2_t1_tiny.pt")
    state = backbones.to_transformers(stem.state_dict())
    folding.load_state_dict({name: value for name, value in state.items() if name.startswith("esm.")}, strict=False)
    save_model(folding, models / "esmfold_tiny")
    AlignmentAdapter(folding, 0)
    save_alignment(folding, models / "esmfold_tiny")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(OPTIONS))
    return folder


def command(folder: Path, *arguments: str | Path, change: dict | None = None) -> list[str]:
    """The command that runs the real Snakefile in `folder`; `change` is merged over the tiny configuration."""
    (folder / "change.yaml").write_text(yaml.safe_dump(change or {}))
    return default_command(folder, "--configfile", folder / "tiny.yaml", folder / "change.yaml", *arguments)


def default_command(folder: Path, *arguments: str | Path) -> list[str]:
    """The command that runs the real Snakefile on the embedded default in `folder`."""
    words = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder, *arguments]
    return [str(word) for word in words]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def fingerprint(results: Path) -> dict[str, str]:
    """Path -> sha256 of each result without its declared values; two runs of the same inputs on CPUs have the same."""
    files = {str(file.relative_to(results)): file for file in results.rglob("*") if file.is_file()}
    return {
        name: hashlib.sha256(_without_declared(file)).hexdigest()
        for name, file in sorted(files.items())
        if not name.startswith(DECLARED_FILES)
    }


def _without_declared(file: Path) -> bytes:
    if file.suffix in {".tsv", ".csv"}:
        rows = csv.DictReader(io.StringIO(file.read_text()), delimiter="\t" if file.suffix == ".tsv" else ",")
        return json.dumps([_kept(row.items()) for row in rows]).encode()
    if file.suffix == ".json":
        return json.dumps(json.loads(file.read_text(), object_pairs_hook=_kept)).encode()
    return file.read_bytes()


def _kept(items: Iterable[tuple]) -> dict:
    return {key: value for key, value in items if key not in DECLARED}

"""The folding track's results: comparison, fine-tuning runs, adaptation at test time, scores by residue."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hardfold.arms import ORACLE, TEST_TIME
from hardfold.report.reading import read_json, read_table, require

COMPARISON_KEYS = {
    "primary": {"arm", "class", "n", "mean", "median", "low", "high", "p", "p_method", "confidence"}
    | {"min_improvement", "criterion", "met", "seeds"},
    "secondary": {"arm", "class", "n", "mean", "median", "low", "high", "p", "p_holm", "improved", "improved_low"}
    | {"improved_high", "worst"},
    "units": {"arm", "class", "n", "targets", "mean", "median", "low", "high", "improved"}
    | {"improved_low", "improved_high"},
    "metrics": {"arm", "level", "metric", "n", "targets", "baseline", "value", "mean", "low", "high"},
    "bands": {"arm", "by", "band", "n", "baseline", "tm", "mean", "median", "low", "high", "improved", "improved_low"}
    | {"improved_high"},
    "pairings": {"first", "second", "band", "n", "mean", "median", "low", "high", "p", "p_holm", "improved"}
    | {"improved_low", "improved_high", "worst"},
    "distribution": {"arm", "class", "n", "mean_tm", "median_tm", "reach_0.6", "reach_0.7", "improved_by_0.10"},
    "by_target": {"target", "class", "hard", "arm", "tm", "baseline", "difference", "seeds"},
}


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning run of the folding model."""

    name: str  # the arm; `leave_one_out/fold1` of leave_one_out
    seed: int
    training: dict
    history: pd.DataFrame

    @property
    def arm(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Adaptation:
    """One run of test_time: a row of `steps` for each target and candidate step, with `tm` where the oracle ran."""

    seed: int
    record: dict
    steps: pd.DataFrame


def read_residues(root: Path, arm: str, seed: int) -> pd.DataFrame:
    path = root / f"folding/{arm}/seed{seed}/residues.tsv"
    return read_table(path, ["target"], ["position", "error", "lddt", "plddt"]).assign(arm=arm, seed=seed)


def read_adaptation(root: Path, folding: dict, seed: int) -> Adaptation:
    arm, scored = (ORACLE, ["tm"]) if ORACLE in folding["arms"] else (TEST_TIME, [])
    return Adaptation(
        seed=seed,
        record=read_json(
            root / f"folding/{TEST_TIME}/seed{seed}/adaptation.json",
            {"trainable_parameters", "total_parameters", "adapted_modules", "targets", "step0_max_difference"}
            | {"steps", "learning_rate", "seconds", "peak_memory_mb"},
        ),
        steps=read_table(
            root / f"folding/{arm}/seed{seed}/steps.tsv",
            ["target", "chosen"],
            ["step", "loss", "perplexity", "plddt", *scored],
        ),
    )


def read_tuning(folder: Path, name: str, seed: int) -> Tuning:
    parts = ["loss", "fape", "confidence", "contact"]
    validation = [f"validation_{part}" for part in [*parts, "tm", "lddt"]]
    return Tuning(
        name=name,
        seed=seed,
        training=read_json(
            folder / "training.json",
            {"steps", "learning_rate", "trainable_parameters", "total_parameters", "adapted_modules", "seconds"}
            | {"peak_memory_mb", "tokens_per_second", "chains", "step0_max_difference", "convergence"}
            | {"kept_step", "trained", "loaded_keys"},
        ),
        history=read_table(
            folder / "history.csv", [], ["step", "learning_rate", *parts, "gradient_norm", *validation], ","
        ),
    )


def read_comparison(path: Path) -> dict:
    content = read_json(path, {*COMPARISON_KEYS, "floor", "notes"})
    for section, keys in COMPARISON_KEYS.items():
        entries = [content[section]] if isinstance(content[section], dict) else content[section]
        for entry in entries:
            require(path, entry, keys, f"{section}: ")
    return content

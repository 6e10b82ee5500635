"""Everything the report says, read from results/ into one typed object; a file that lacks something is named."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hardfold import tables
from hardfold.arms import OFF_HEADLINE, finetuning_runs
from hardfold.config import pretrained_models, resolve_experiments
from hardfold.contact.score import METRICS
from hardfold.leakage import SCORED

TASKS = ["contact", "distance", "angle"]
SECTION_KEYS = {"proteins", "pairs_unseen", "metrics", "by_protein", "curves", "reliability", "distance_error"}
# The models inside the repository; weights from here are small stand-ins, whatever their architecture.
EMBEDDED_FOLDER = "resources/models"

COMPARISON_KEYS = {
    "primary": {"arm", "class", "n", "mean", "median", "low", "high", "p", "p_method", "confidence"}
    | {"min_improvement", "criterion", "met"},
    "secondary": {"arm", "class", "n", "mean", "median", "low", "high", "p", "p_holm", "improved", "improved_low"}
    | {"improved_high", "worst"},
    "distribution": {"arm", "class", "n", "mean_tm", "median_tm", "reach_0.6", "reach_0.7", "improved_by_0.10"},
    "by_target": {"target", "class", "arm", "tm", "baseline", "difference", "seeds"},
}


class ResultsError(ValueError):
    """A result file that is absent, incomplete or contradicts itself; the message names it."""


@dataclass(frozen=True)
class Baseline:
    """What the experiments must beat: scored as they are, trained by no loss of theirs."""

    name: str
    metrics: dict


@dataclass(frozen=True)
class Experiment:
    name: str
    options: dict
    training: dict
    history: pd.DataFrame
    metrics: dict  # threshold, and a section for each of SCORED
    predictions: Path

    @property
    def tasks(self) -> list[str]:
        return [task for task in TASKS if self.options[f"use_{task}"]]

    @property
    def validation_roc_auc(self) -> float:
        """Of the epoch whose weights were kept; NaN where unknown."""
        return self.history.set_index("epoch")["validation_roc_auc"].get(self.training["best_epoch"], math.nan)


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning run of the folding model."""

    arm: str  # `leave_one_out/fold1` of leave_one_out
    seed: int
    training: dict
    history: pd.DataFrame


@dataclass(frozen=True)
class Results:
    provenance: dict
    chains: pd.DataFrame  # QC, one row an input chain or target
    alignments: pd.DataFrame
    assignment: pd.DataFrame
    audit: pd.DataFrame
    test_set: Path
    metrics: dict[str, pd.DataFrame]  # of SCORED: one row an experiment, by name, then one a baseline
    comparisons: pd.DataFrame
    bands: pd.DataFrame
    experiments: list[Experiment]
    baselines: list[Baseline]
    scores: pd.DataFrame
    comparison: dict
    tunings: list[Tuning]
    weights: list[dict]

    @property
    def config(self) -> dict:
        return self.provenance["config"]

    @property
    def primary(self) -> dict:
        return self.comparison["primary"]

    @property
    def headline_arms(self) -> list[str]:
        """Adapted arms whose targets were not trained on, in the order of the configuration."""
        return [arm for arm in self.config["folding"]["arms"] if arm not in OFF_HEADLINE]

    @property
    def best(self) -> Experiment | None:
        return best(self.experiments)

    @property
    def stand_ins(self) -> list[str]:
        return [model["name"] for model in self.weights if EMBEDDED_FOLDER in str(model["source"])]

    @property
    def classes(self) -> list[str]:
        """Classes of the targets; their units have classes of their own."""
        return sorted(set(self.scores["class"][self.scores["unit"] == "chain"]))

    def chain_scores(self, arm: str) -> pd.DataFrame:
        """Scores of whole chains by target, the mean over seeds."""
        rows = self.scores[(self.scores["arm"] == arm) & (self.scores["unit"] == "chain")]
        return rows.drop(columns=["unit", "arm", "seed"]).groupby(["target", "class"]).mean(numeric_only=True)


def best(experiments: list[Experiment]) -> Experiment | None:
    """The one of the highest ROC AUC on validation chains: chosen without a look at the chains it is shown on. Of a run
    that overfits one batch they are its training chains."""
    honest = [one for one in experiments if not one.options["overfit_one_batch"]]
    known = [one for one in honest if not math.isnan(one.validation_roc_auc)]
    return max(known, key=lambda one: one.validation_roc_auc, default=None)


def read_results(root: Path) -> Results:
    """Read and check every file below `root` that the report rests on; ResultsError names the first one at fault.

    The configuration in provenance.json says which experiments, arms and seeds belong to the run.
    """
    root = Path(root)
    provenance = _json(
        root / "provenance.json", {"config", "packages", "tools", "inputs", "host", "written", "commit", "modified"}
    )
    config = provenance["config"]
    experiments = resolve_experiments(config)
    metrics = {
        split: _table(root / f"experiments/{name}.tsv", ["experiment"], ["proteins", *_with_ends(METRICS)])
        for split, name in zip(SCORED, ["summary", "targets"], strict=True)
    }
    return Results(
        provenance=provenance,
        chains=_table(
            root / "structures/qc.tsv",
            ["chain", "source", "status", "reason", "method", "release_date", "checks_not_possible"],
            ["length", "resolved", "resolution"],
        ),
        alignments=_table(
            root / "alignments/summary.tsv",
            ["chain", "tool", "database", "status", "reason"],
            ["rows", "neff", "seconds"],
        ),
        assignment=_table(root / "splits/assignment.tsv", ["chain", "cluster", "split"]),
        audit=_table(
            root / "splits/audit.tsv",
            ["chain", "split", "nearest_training", "dropped_for_it", "nearest_kept", "date_barrier", "same_entry"],
            ["identity", "identity_kept"],
        ),
        test_set=_file(root / "dataset/test.h5"),
        metrics={split: table.set_index("experiment") for split, table in metrics.items()},
        comparisons=_table(
            root / "experiments/comparisons.tsv",
            ["question", "first", "second", "split", "metric"],
            [
                "proteins",
                "clusters",
                "first_value",
                "second_value",
                "difference",
                "low",
                "high",
                "p",
                "p_holm",
                "p_least",
            ],
        ),
        bands=_table(
            root / "experiments/bands.tsv",
            ["experiment", "split", "by", "band"],
            ["proteins", *_with_ends(["roc_auc", "pr_auc", "p_at_l_long"])],
        ),
        experiments=[_experiment(root / "experiments" / name, name, options) for name, options in experiments.items()],
        baselines=[
            Baseline(name, _metrics(root / f"experiments/{name}/metrics.json"))
            for name in metrics["test"]["experiment"]
            if name not in experiments
        ],
        scores=_table(
            root / "folding/scores.tsv",
            ["target", "unit", "class", "arm", "in_baseline_training_period"],
            ["seed", "residues", "tm", "gdt_ts", "lddt", "rmsd", "plddt", "neff", "nearest_training_identity"],
        ),
        comparison=_comparison(root / "folding/comparison.json"),
        tunings=[
            _tuning(root / f"folding/{arm}/seed{seed}", arm, seed) for arm, seed in finetuning_runs(config["folding"])
        ],
        weights=[
            _json(root / "weights" / name / "weights.json", {"name", "source", "files"})
            for name in pretrained_models(config)
        ],
    )


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ResultsError(f"{path}: no such file")
    return path


def _json(path: Path, required: Iterable[str]) -> dict:
    try:
        content = json.loads(_file(path).read_text())
    except json.JSONDecodeError as fault:
        raise ResultsError(f"{path}: not JSON ({fault})") from None
    _require(path, content, required)
    return content


def _require(path: Path, content: dict, required: Iterable[str], where: str = "") -> None:
    if missing := sorted(set(required) - set(content)):
        raise ResultsError(f"{path}: {where}{', '.join(missing)} missing")


def _table(path: Path, text: Iterable[str], numbers: Iterable[str] = (), separator: str = "\t") -> pd.DataFrame:
    """A table whose `numbers` columns are floats (NaN where empty)."""
    try:
        table = tables.read(path, [*text, *numbers]) if separator == "\t" else _comma_separated(path, numbers)
    except tables.TableError as fault:
        raise ResultsError(str(fault)) from None
    for column in numbers:
        values = pd.to_numeric(table[column].replace("", None), errors="coerce")
        if len(wrong := table[column][values.isna() & (table[column] != "")]):
            raise ResultsError(f"{path}: column {column} holds {wrong.iloc[0]!r}, which is no number")
        table[column] = values.astype(float)
    return table


def _with_ends(metrics: list[str]) -> list[str]:
    """Each metric, and the ends of its interval."""
    return [f"{name}{part}" for name in metrics for part in ("", "_low", "_high")]


def _comma_separated(path: Path, required: Iterable[str]) -> pd.DataFrame:
    table = pd.read_csv(_file(path), dtype=str, keep_default_na=False)
    _require(path, dict.fromkeys(table.columns), required, "column ")
    return table


def _experiment(folder: Path, name: str, options: dict) -> Experiment:
    parts = [f"{split}_{part}" for split in ("train", "validation") for part in ("loss", "contact", "distance")]
    return Experiment(
        name=name,
        options=options,
        training=_json(
            folder / "training.json",
            {"seconds", "epochs", "steps", "best_epoch", "peak_memory_mb", "parameters", "checkpoint_chains"},
        ),
        history=_table(folder / "history.csv", [], ["epoch", "learning_rate", *parts, "validation_roc_auc"], ","),
        metrics=_metrics(folder / "metrics.json"),
        predictions=_file(folder / "predictions.h5"),
    )


def _metrics(path: Path) -> dict:
    content = _json(path, {"threshold", *SCORED})
    for split in SCORED:
        _require(path, content[split], SECTION_KEYS, f"{split}: ")
    return content


def _tuning(folder: Path, arm: str, seed: int) -> Tuning:
    parts = ["loss", "fape", "confidence", "contact"]
    validation = [f"validation_{part}" for part in [*parts, "tm", "lddt"]]
    return Tuning(
        arm=arm,
        seed=seed,
        training=_json(
            folder / "training.json",
            {"steps", "learning_rate", "trainable_parameters", "total_parameters", "adapted_modules", "seconds"}
            | {"peak_memory_mb", "tokens_per_second", "chains", "step0_max_difference", "convergence"},
        ),
        history=_table(
            folder / "history.csv", [], ["step", "learning_rate", *parts, "gradient_norm", *validation], ","
        ),
    )


def _comparison(path: Path) -> dict:
    content = _json(path, {*COMPARISON_KEYS, "floor", "notes"})
    for section, keys in COMPARISON_KEYS.items():
        entries = [content[section]] if isinstance(content[section], dict) else content[section]
        for entry in entries:
            _require(path, entry, keys, f"{section}: ")
    return content

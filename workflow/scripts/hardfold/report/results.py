"""Everything the report says, read from results/ into one typed object; a file that lacks something is named."""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hardfold.arms import MEMORISATION, OFF_HEADLINE, TEST_TIME, finetuning_runs, prediction_runs
from hardfold.config import pretrained_models, resolve_experiments
from hardfold.contact.score import METRICS
from hardfold.difficulty import grouped
from hardfold.inputs import read_reference_scores
from hardfold.leakage import SCORED
from hardfold.report.folding_results import (
    Adaptation,
    Tuning,
    read_adaptation,
    read_comparison,
    read_residues,
    read_tuning,
)
from hardfold.report.reading import ResultsError, present, read_json, read_table, require
from hardfold.tables import TableError

TASKS = ["contact", "distance", "angle"]
SECTION_KEYS = {"proteins", "pairs_unseen", "metrics", "by_protein", "curves", "reliability", "distance_error"}
# The models inside the repository; weights from here are small stand-ins, whatever their architecture.
EMBEDDED_FOLDER = "resources/models"


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
class Results:
    root: Path
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
    residues: pd.DataFrame  # by arm and seed: position, error, lddt, plddt
    tunings: list[Tuning]
    adaptations: list[Adaptation]
    reference: pd.DataFrame  # published scores: target, unit, source, tm
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
    def controls(self) -> list[str]:
        """Arms that make no claim, but for memorisation, which has a section of its own."""
        return [arm for arm in self.config["folding"]["arms"] if arm in OFF_HEADLINE - {MEMORISATION}]

    @property
    def best(self) -> Experiment | None:
        return best(self.experiments)

    @property
    def stand_ins(self) -> list[str]:
        return [model["name"] for model in self.weights if EMBEDDED_FOLDER in str(model["source"])]

    @property
    def groups(self) -> dict[str, set[str]]:
        """The targets of `all`, `hard` and each class that some arm has scores of."""
        targets = pd.DataFrame(self.comparison["by_target"]).drop_duplicates("target")
        return {group: set(rows["target"]) for group, rows in grouped(targets).items()}

    def native(self, target: str) -> Path:
        return self.root / f"targets/{target}.cif"

    def prediction(self, arm: str, seed: int, target: str) -> Path:
        return self.root / f"folding/{arm}/seed{seed}/{target}.cif"

    def entry(self, arm: str, group: str = "all") -> dict | None:
        """The comparison of an arm with the baseline over a class."""
        return next((e for e in self.comparison["secondary"] if (e["arm"], e["class"]) == (arm, group)), None)

    def by_target(self, arm: str) -> pd.DataFrame:
        """TM-scores by chain of an arm and the baseline: target, class, hard, arm, tm, baseline, difference, seeds."""
        columns = ["target", "class", "hard", "arm", "tm", "baseline", "difference", "seeds"]
        table = pd.DataFrame(self.comparison["by_target"], columns=columns)
        return table[table["arm"] == arm]

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


def read_results(root: Path, reference: Path | None = None) -> Results:
    """Read and check every file below `root` that the report rests on, and `reference`, published scores (see
    `read_reference_scores`); ResultsError names the first one at fault.

    The configuration in provenance.json says which experiments, arms and seeds belong to the run.
    """
    root = Path(root)
    provenance = read_json(
        root / "provenance.json", {"config", "packages", "tools", "inputs", "host", "written", "commit", "modified"}
    )
    config = provenance["config"]
    experiments = resolve_experiments(config)
    metrics = {
        split: read_table(root / f"experiments/{name}.tsv", ["experiment"], ["proteins", *_with_ends(METRICS)])
        for split, name in zip(SCORED, ["summary", "targets"], strict=True)
    }
    try:
        published = read_reference_scores(reference)
    except TableError as fault:
        raise ResultsError(str(fault)) from None
    return Results(
        root=root,
        provenance=provenance,
        chains=read_table(
            root / "structures/qc.tsv",
            ["chain", "source", "status", "reason", "method", "release_date", "checks_not_possible"],
            ["length", "resolved", "resolution"],
        ),
        alignments=read_table(
            root / "alignments/summary.tsv",
            ["chain", "tool", "database", "status", "reason"],
            ["rows", "neff", "seconds"],
        ),
        assignment=read_table(root / "splits/assignment.tsv", ["chain", "cluster", "split"]),
        audit=read_table(
            root / "splits/audit.tsv",
            ["chain", "split", "nearest_training", "dropped_for_it", "nearest_kept", "date_barrier", "same_entry"],
            ["identity", "identity_kept"],
        ),
        test_set=present(root / "dataset/test.h5"),
        metrics={split: table.set_index("experiment") for split, table in metrics.items()},
        comparisons=read_table(
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
        bands=read_table(
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
        scores=read_table(
            root / "folding/scores.tsv",
            ["target", "unit", "class", "arm", "in_baseline_training_period"],
            ["seed", "residues", "tm", "gdt_ts", "lddt", "rmsd", "plddt", "neff", "nearest_training_identity"],
        ),
        comparison=read_comparison(root / "folding/comparison.json"),
        residues=pd.concat([read_residues(root, arm, seed) for arm, seed in prediction_runs(config["folding"])]),
        tunings=[
            read_tuning(root / f"folding/{arm}/seed{seed}", arm, seed)
            for arm, seed in finetuning_runs(config["folding"])
        ],
        adaptations=[read_adaptation(root, config["folding"], seed) for seed in config["folding"]["seeds"]]
        if TEST_TIME in config["folding"]["arms"]
        else [],
        reference=published,
        weights=[
            read_json(root / "weights" / name / "weights.json", {"name", "source", "files"})
            for name in pretrained_models(config)
        ],
    )


def _with_ends(metrics: list[str]) -> list[str]:
    """Each metric, and the ends of its interval."""
    return [f"{name}{part}" for name in metrics for part in ("", "_low", "_high")]


def _experiment(folder: Path, name: str, options: dict) -> Experiment:
    parts = [f"{split}_{part}" for split in ("train", "validation") for part in ("loss", "contact", "distance")]
    return Experiment(
        name=name,
        options=options,
        training=read_json(
            folder / "training.json",
            {"seconds", "epochs", "steps", "best_epoch", "peak_memory_mb", "parameters", "checkpoint_chains"},
        ),
        history=read_table(folder / "history.csv", [], ["epoch", "learning_rate", *parts, "validation_roc_auc"], ","),
        metrics=_metrics(folder / "metrics.json"),
        predictions=present(folder / "predictions.h5"),
    )


def _metrics(path: Path) -> dict:
    content = read_json(path, {"threshold", *SCORED})
    for split in SCORED:
        require(path, content[split], SECTION_KEYS, f"{split}: ")
    return content

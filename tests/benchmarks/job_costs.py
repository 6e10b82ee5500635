"""The jobs of the real Snakefile, and what those of finished runs have cost: time, memory, bytes and files by rule.

    python tests/benchmarks/job_costs.py NAME=FOLDER[:CONFIG] ... > docs/benchmarks/job_costs.tsv

FOLDER: the working directory of a run, CONFIG: its own configuration file. Nothing in results/ is changed.
"""

import contextlib
import csv
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import ROOT
from scipy.optimize import nnls
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, Quietness, ResourceSettings

from hardfold.tables import read_rows

HELD_OUT = ("validation", "test", "target")
COLUMNS = [
    "job", "unit", "jobs", "start_s", "unit_s", "wall_s", "peak_mb", "start_bytes", "unit_bytes", "files", "unit_files",
    "source",
]  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One job of the DAG. `needs`: places of others in the list that it waits for."""

    rule: str
    kind: str  # the rule and what its cost depends on beside the size: of embeddings their content
    wildcards: dict[str, str]
    threads: int
    memory_mb: int
    gpus: int
    minutes: float  # asked for at the first attempt
    local: bool
    needs: tuple[int, ...]
    outputs: tuple[str, ...]
    others: tuple[str, ...]  # log and benchmark
    epochs: int


@dataclass(frozen=True)
class Size:
    """Chains and targets of a run: kept ones by shard, and by split."""

    shards: Mapping[str, int]
    splits: Mapping[str, int]


# Rule -> what its cost grows with, and how much of it a job has. Others cost the same in every run.
UNITS: dict[str, tuple[str, Callable[[Job, Size], float]]] = {
    **dict.fromkeys(
        ("download_structures", "extract_structures", "search_alignments", "build_dataset"),
        ("chain of the shard", lambda job, size: size.shards[job.wildcards["shard"]]),
    ),
    **dict.fromkeys(
        (
            *("collect_structures", "collect_alignments", "build_splits", "join_dataset", "build_folds"),
            *("embed_chains", "describe_columns", "shuffle_labels"),
        ),
        ("chain of the run", lambda job, size: sum(size.splits.values())),
    ),
    "train_experiment": ("training chain and epoch", lambda job, size: size.splits["train"] * job.epochs),
    **dict.fromkeys(
        ("predict_experiment", "predict_baseline", "score_contacts"),
        ("held-out chain", lambda job, size: sum(size.splits[split] for split in HELD_OUT)),
    ),
    **dict.fromkeys(
        (
            *("write_targets", "predict_folding", "predict_test_time", "choose_with_native", "copy_nearest"),
            *("score_predictions", "score_residues", "score_controls"),
        ),
        ("target", lambda job, size: size.splits["target"]),
    ),
}
JOB = ("job", lambda job, size: 1)


def plan(folder: Path, *configs: Path, cores: int = 128) -> list[Job]:
    """All jobs of a run in `folder`, finished or not, by rule and output."""
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stderr(None),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api,
    ):
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=cores),
            config_settings=ConfigSettings(configfiles=list(configs)),
            snakefile=ROOT / "Snakefile",
        )
        workflow.dag(DAGSettings(forceall=True))
        inner = workflow._workflow
        # What `snakemake --dag` does before it prints.
        inner._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True, nolock=True)
        inner._build_dag()
        found = sorted(inner.dag.jobs, key=lambda job: (job.rule.name, str(job.output)))
        place = {job: number for number, job in enumerate(found)}
        return [
            _job(
                job,
                job.rule.norun or job.rule.name in inner._localrules,
                [place[other] for other in inner.dag.dependencies[job]],
            )
            for job in found
        ]


def _job(job, is_local, needs):
    wildcards, params = dict(job.wildcards.items()), dict(job.params.items())
    kind, options = job.rule.name, params.get("options", {})
    if kind == "embed_chains":
        kind += f", {params['embedding']['content']}"
    if kind == "describe_columns":
        kind += f", {wildcards['content']}"
    if kind == "search_alignments":
        kind += f", {'given' if options['given'] else options['provider']}"
    resources = job.resources
    return Job(
        rule=job.rule.name,
        kind=kind,
        wildcards=wildcards,
        threads=job.threads,
        memory_mb=resources.get("mem_mb", 0),
        gpus=resources.get("gpu", 0),
        minutes=resources.get("runtime", 0),
        local=is_local,
        needs=tuple(sorted(needs)),
        outputs=tuple(map(str, job.output)),
        others=tuple(map(str, [*job.log, *([job.benchmark] if job.benchmark else [])])),
        epochs=options.get("num_epochs", 0),
    )


def measured_size(results: Path) -> Size:
    kept = {}
    for path in Path(results, "structures/shards").glob("*/*.tsv"):
        kept[f"{path.parent.name}/{path.stem}"] = sum(row["status"] == "kept" for row in read_rows(path))
    rows = read_rows(results / "splits/assignment.tsv")
    splits = {split: sum(row["split"] == split for row in rows) for split in ("train", *HELD_OUT)}
    return Size(kept, splits)


def measure_run(folder: Path, *configs: Path) -> Iterable[dict]:
    """A row for each job of a finished run whose benchmark is there."""
    size = measured_size(folder / "results")
    for job in plan(folder, *configs):
        records = [folder / path for path in job.others if "/benchmarks/" in path and (folder / path).is_file()]
        if not records:
            continue
        (record,) = read_rows(records[0])
        listed = [[*_files(folder / output)] for output in job.outputs]
        fixed = sum(not (folder / output).is_dir() for output in job.outputs)
        unit, count = UNITS.get(job.rule, JOB)
        yield {
            "job": job.kind,
            "unit": unit,
            "units": count(job, size),
            "core_s": _core_seconds(job, record, folder),
            "wall_s": float(record["s"]),
            "peak_mb": float(record["max_rss"]) if record["max_rss"] not in ("", "NA", "-") else 0.0,
            "bytes": sum(path.stat().st_size for files in listed for path in files),
            "fixed_files": fixed,
            "more_files": sum(map(len, listed)) - fixed,
        }


def _core_seconds(job, record, folder):
    """Snakemake's cpu_time, which misses programs that end between two of its looks: of searches the seconds that their
    table has, of other jobs with several threads, which run MMseqs2 or HH-suite, those of the wall clock."""
    if job.rule == "search_alignments":
        rows = read_rows(folder / "results/alignments/shards" / f"{job.wildcards['shard']}.tsv")
        return float(record["cpu_time"]) + sum(float(row["seconds"]) for row in rows if row["cached"] != "True")
    return float(record["s"]) if job.threads > 1 else float(record["cpu_time"])


def _files(output):
    if output.is_dir():
        yield from (path for path in output.rglob("*") if path.is_file())
    elif output.is_file():
        yield output
        if output.name == "predictions.tsv":  # the structures lie beside it
            yield from output.parent.glob("*.cif")


def costs(rows: list[dict]) -> list[dict]:
    """By kind of job: what a job costs and what a unit more, fitted to all of its jobs in all runs."""
    found = []
    for kind in sorted({row["job"] for row in rows}):
        own = [row for row in rows if row["job"] == kind]
        units = [row["units"] for row in own]
        start_s, unit_s = fit(units, [row["core_s"] for row in own])
        start_bytes, unit_bytes = fit(units, [row["bytes"] for row in own])
        found.append(
            {
                "job": kind,
                "unit": own[0]["unit"],
                "jobs": len(own),
                "start_s": f"{start_s:.3g}",
                "unit_s": f"{unit_s:.3g}",
                "wall_s": f"{np.mean([row['wall_s'] for row in own]):.3g}",
                "peak_mb": f"{max(row['peak_mb'] for row in own):.0f}",
                "start_bytes": f"{start_bytes:.0f}",
                "unit_bytes": f"{unit_bytes:.0f}",
                "files": f"{np.mean([row['fixed_files'] for row in own]):.3g}",
                "unit_files": f"{sum(row['more_files'] for row in own) / sum(units):.3g}",
                "source": " ".join(sorted({row["run"] for row in own})),
            }
        )
    return found


def fit(units: Iterable[float], values: Iterable[float]) -> tuple[float, float]:
    """(a, b) >= 0 of a + b * units, by least squares; a alone where the unit is the job, b alone where all jobs have as
    many."""
    units, values = np.array([*units], dtype=float), np.array([*values], dtype=float)
    if (units == 1).all():
        return float(values.mean()), 0.0
    if np.ptp(units) == 0:
        return 0.0, float(values.mean() / units[0])
    first, slope = nnls(np.stack([np.ones_like(units), units], axis=1), values)[0]
    return float(first), float(slope)


def main(runs: list[str]) -> None:
    rows = []
    for run in runs:
        name, _, place = run.partition("=")
        folder, *configs = place.split(":")
        rows += [row | {"run": name} for row in measure_run(Path(folder), *map(Path, configs))]
    writer = csv.DictWriter(sys.stdout, COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(costs(rows))


if __name__ == "__main__":
    main(sys.argv[1:])

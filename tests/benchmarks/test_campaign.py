"""Campaigns of 1,000 to 100,000 chains simulated on a cluster: the real DAG, each job as long as job_costs.tsv says.

What nobody measured, the speed of a GPU and searches in a large database, is named as assumed.
"""

import dataclasses
import sys
from collections import defaultdict

import matplotlib.pyplot as plt
import numpy as np
import pytest
from campaign import (
    Cluster,
    Cost,
    core_seconds,
    duration,
    files_by_folder,
    in_use,
    simulate,
    stored,
)
from job_costs import Size, plan
from measure import ROOT, made_up_run, print_table, run_child

from hardfold.tables import read_rows

pytestmark = pytest.mark.benchmark
CHAINS = (1_000, 10_000, 100_000)
OWN = {
    "shard_size": 100,
    "inputs": {"targets": "config/casp/targets.tsv"},
    "folding": {
        "arms": [
            *("disjoint", "disjoint_alignment", "leave_one_out", "test_time", "test_time_oracle", "memorisation"),
            *("control_shuffled_labels", "control_swapped_alignment", "nearest_training"),
        ],
        "seeds": [1, 2, 3],
    },
}
FRACTIONS = {"train": 0.6, "validation": 0.15, "test": 0.25}  # the embedded default; none dropped
# 2,048 cores, 16 GPUs. starts: the slowest that was seen, with 5,000 jobs in the DAG. seen_s: polling backs off to
# 20-40 s. Queue and seconds before the work: by scenario and size.
CLUSTER = Cluster(
    nodes=((12, 128, 512_000, 0), (4, 128, 512_000, 4)), queue=0, starts=1.9, start_s=0.0, seen_s=30.0, local_cores=8
)
SNAKEMAKES = 2  # that start in each job of a Slurm allocation
# Core-seconds a search: of hhblits in the embedded pool (docs/benchmarks/alignments.md; job_costs.tsv has those of the
# wall clock of a busy machine), and of one in a database of the size of UniClust30. Speed of a GPU, in cores.
POOL, LARGE = 0.88, 300
H100 = 20
# Name -> core-seconds a search, speed of a GPU, jobs in the queue (profiles/slurm's `jobs`, and more).
SCENARIOS = {
    "measured": (POOL, 1, 100),
    "assumed": (LARGE, H100, 100),
    "assumed, --jobs 1000": (LARGE, H100, 1000),
}
PLOT = ROOT / "docs/scale.png"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#999999")  # the last for all other rules


def read_costs():
    fields = [field.name for field in dataclasses.fields(Cost)]
    rows = read_rows(ROOT / "docs/benchmarks/job_costs.tsv")
    return {row["job"]: Cost(**{name: float(row[name]) for name in fields}) for row in rows}


def start_seconds(folder, own):
    """Processor seconds of one Snakemake that reads the Snakefile and the lists for one job."""
    command = [sys.executable, "-m", "snakemake", "-n", "-q", "all", "--cores", 1, "--snakefile", ROOT / "Snakefile"]
    command += ["--directory", folder, "--configfile", own, "--", "results/structures/raw/chains00/chains0000.tsv"]
    return min(run_child(*command)["cpu"] for _ in range(2))


def planned_size(jobs, count):
    targets = len(read_rows(ROOT / "config/casp/targets.tsv"))
    shards = sorted({job.wildcards["shard"] for job in jobs if "shard" in job.wildcards})
    sizes = dict.fromkeys(shards, OWN["shard_size"]) | {"targets00/targets0000": targets}
    splits = {split: round(share * count) for split, share in FRACTIONS.items()}
    return Size(sizes, splits | {"target": targets})


def test_campaign(tmp_path):
    costs, results = read_costs(), {}
    for count in CHAINS:
        (folder := tmp_path / str(count)).mkdir()
        own = made_up_run(folder, count, OWN)
        jobs = plan(folder, own)
        start_s, size = SNAKEMAKES * start_seconds(folder, own), planned_size(jobs, count)
        for name, (search_s, gpu_speed, queue) in SCENARIOS.items():
            search = "search_alignments, hhblits"
            known = costs | {search: dataclasses.replace(costs[search], start_s=0.0, unit_s=search_s)}
            work = [core_seconds(job, size, known) for job in jobs]
            seconds = [duration(job, one, gpu_speed) for job, one in zip(jobs, work, strict=True)]
            cluster = dataclasses.replace(CLUSTER, start_s=start_s, queue=queue)
            results[count, name] = jobs, seconds, cluster, simulate(jobs, seconds, cluster), stored(jobs, size, known)
    print_totals(results)
    jobs, measured, *_ = results[CHAINS[-1], "measured"]
    print_rules(jobs, measured, results[CHAINS[-1], "assumed"][1])
    folders = files_by_folder(jobs).most_common(6)
    print_table(f"Files in a folder, {CHAINS[-1]:,} chains", ["folder", "files"], folders)
    plot({name: results[CHAINS[-1], name] for name in SCENARIOS if name != "assumed"})
    for jobs, seconds, _, run, _ in results.values():
        assert all(
            run.began[job] >= max((run.ended[need] for need in jobs[job].needs), default=0) for job in range(len(jobs))
        )
        assert run.seconds >= max(seconds)


def core_hours(jobs, seconds):
    """What the cluster bills: reserved cores times time."""
    return sum(job.threads * one for job, one in zip(jobs, seconds, strict=True)) / 3600


def print_totals(results):
    rows = []
    for (count, name), (jobs, seconds, cluster, run, (content, files)) in results.items():
        submitted = [job for job in jobs if not job.local]
        started = sum(job.threads for job in submitted) * cluster.start_s / 3600
        gpu = sum(job.gpus * one for job, one in zip(jobs, seconds, strict=True)) / 3600
        hours = core_hours(jobs, seconds)
        row = [f"{count:,}", name, f"{len(jobs):,}", f"{run.seconds / 3600:.1f}", f"{hours:.0f}", f"{gpu:.1f}"]
        rows.append([*row, f"{started:.1f}", f"{100 * started / hours:.1f} %", f"{content / 1e9:.1f}", f"{files:,.0f}"])
    header = ["chains", "scenario", "jobs", "hours", "core-hours", "GPU-hours", "core-hours of starts", "of the work"]
    print_table("Campaigns", [*header, "GB", "files"], rows)


def print_rules(jobs, measured, assumed):
    rows = {}
    for job, *seconds in zip(jobs, measured, assumed, strict=True):
        row = rows.setdefault(job.rule, np.zeros(6))
        hours = np.array(seconds) / 3600
        row[0] += 1
        row[1:3] += job.threads * hours
        row[3:] = np.maximum(row[3:], [*hours, job.minutes / 60])
    ranked = sorted(rows.items(), key=lambda item: -item[1][1:3].max())
    header = ["rule", "jobs", "core-hours, measured", "assumed", "longest job, h, measured", "assumed", "asked for, h"]
    lines = [[rule, f"{row[0]:,.0f}", *(f"{value:.2f}" for value in row[1:])] for rule, row in ranked if row[1] > 0.01]
    print_table(f"Rules, {CHAINS[-1]:,} chains", header, lines)


def hours_by_rule(jobs, seconds):
    hours = defaultdict(float)
    for job, one in zip(jobs, seconds, strict=True):
        hours[job.rule] += job.threads * one / 3600
    return hours


def plot(results):
    by_rule = [hours_by_rule(jobs, seconds) for jobs, seconds, *_ in results.values()]
    shares = {rule: max(hours[rule] / sum(hours.values()) for hours in by_rule) for rule in by_rule[0]}
    shown = sorted(shares, key=shares.get, reverse=True)[: len(COLOURS) - 1]
    figure, panels = plt.subplots(3, len(results), figsize=(11, 9), layout="constrained", height_ratios=[2, 1, 2])
    for column, name, hours in zip(panels.T, results, by_rule, strict=True):
        jobs, _, cluster, run, _ = results[name]
        search_s, gpu_speed, _ = SCENARIOS[name]
        draw_use(column[0], jobs, run, shown, lambda job: job.threads, "cores in use")
        draw_use(column[1], jobs, run, shown, lambda job: job.gpus, "GPUs in use")
        column[0].set_title(
            f"{name.split(',')[0]}: a search takes {search_s:g} core-seconds,\na GPU is as fast as {gpu_speed} "
            f"core{'s' * (gpu_speed > 1)}; {cluster.queue:,} jobs in the queue",
            fontsize=10,
        )
        column[1].set_xlabel("hours")
        bars = sorted(hours, key=hours.get)[-10:]
        colours = [COLOURS[shown.index(rule)] if rule in shown else COLOURS[-1] for rule in bars]
        drawn = column[2].barh(bars, [hours[rule] for rule in bars], color=colours)
        shares = [100 * hours[rule] / sum(hours.values()) for rule in bars]
        labels = [f"{share:.1f} %" if share >= 0.1 else "below 0.1 %" for share in shares]
        column[2].bar_label(drawn, labels, padding=3, fontsize=8)
        column[2].set(xscale="log", xlabel="core-hours", xlim=(0.1, 30 * max(hours.values()) ** 0.9))
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(COLOURS), frameon=False, fontsize=9)
    figure.suptitle(f"A simulated campaign of {CHAINS[-1]:,} chains on 2,048 cores and 16 GPUs", fontsize=12)
    figure.savefig(PLOT, dpi=130, metadata={"Software": None})


def draw_use(panel, jobs, run, shown, amount, label):
    """Stacked over time: the rules shown, then all others."""
    end, floor = run.seconds / 3600, None
    grid = np.linspace(0, end, 1500)
    for rule, colour in zip([*shown, None], COLOURS, strict=True):
        chosen = [place for place, job in enumerate(jobs) if (job.rule == rule if rule else job.rule not in shown)]
        part = dataclasses.replace(run, began=[run.began[i] for i in chosen], ended=[run.ended[i] for i in chosen])
        times, sums = in_use([jobs[i] for i in chosen], part, amount)
        level = np.concatenate([[0], sums])[np.searchsorted(np.array(times) / 3600, grid, side="right")]
        floor = np.zeros_like(grid) if floor is None else floor
        panel.fill_between(grid, floor, floor + level, step="mid", color=colour, linewidth=0, label=rule or "others")
        floor = floor + level
    panel.set(ylabel=label, xlim=(0, end), ylim=(0, None))

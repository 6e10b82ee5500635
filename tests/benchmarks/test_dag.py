"""The dry run of the real Snakefile on made-up tables of chains: time and peak memory by chains and chains a job."""

import sys

import matplotlib.pyplot as plt
import pytest
from measure import ROOT, made_up_run, print_table, run_child

pytestmark = pytest.mark.benchmark
CHAINS, SHARD_SIZES = (1_000, 10_000, 100_000), (100, 250)
SECONDS, MEGABYTES = 30, 400  # the limits for 100,000 chains
FIGURES = {"seconds": 1, "cpu": 1, "peak_mb": 0}  # and their decimals in the table
PLOT = ROOT / "docs/benchmarks/dag.png"


def dry_run(folder, count, shard_size):
    own = made_up_run(folder, count, {"shard_size": shard_size})
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--cores", 2]
    command += ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", own]
    runs = [run_child(*command) for _ in range(2)]
    total = next(line.split()[1] for line in runs[0]["output"].splitlines() if line.startswith("total"))
    return {"jobs": int(total)} | {key: min(run[key] for run in runs) for key in ("seconds", "cpu", "peak_mb")}


def test_dry_run(tmp_path):
    found = {(count, size): dry_run(tmp_path, count, size) for size in SHARD_SIZES for count in CHAINS}
    header = ["chains", "chains a job", "jobs", "seconds", "CPU-seconds", "peak MB"]
    rows = [
        [f"{count:,}", size, f"{one['jobs']:,}", *(f"{one[key]:.{digits}f}" for key, digits in FIGURES.items())]
        for (count, size), one in found.items()
    ]
    print_table("snakemake -n, the better of two runs", header, rows)
    plot(found)
    assert all(found[CHAINS[-1], size]["cpu"] < SECONDS for size in SHARD_SIZES)
    assert all(found[CHAINS[-1], size]["peak_mb"] < MEGABYTES for size in SHARD_SIZES)


def plot(found):
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, key, label, limit in (
        (panels[0], "cpu", "CPU-seconds", SECONDS),
        (panels[1], "peak_mb", "peak memory, MB", MEGABYTES),
    ):
        for size, colour in zip(SHARD_SIZES, ("#0072B2", "#D55E00"), strict=True):
            values = [found[count, size][key] for count in CHAINS]
            panel.plot(CHAINS, values, "o-", color=colour, label=f"{size} chains a job")
        panel.axhline(limit, color="0.4", linestyle="--", linewidth=1)
        panel.text(CHAINS[0], limit, "limit for 100,000 chains", va="bottom", color="0.4", fontsize=9)
        panel.set(xscale="log", xlabel="chains", ylabel=label, ylim=(0, limit * 1.12))
        panel.set_xticks(CHAINS, [f"{count:,}" for count in CHAINS])
        panel.minorticks_off()
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False, loc="center left")
    figure.suptitle("Dry run of the whole workflow", fontsize=11)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=150, metadata={"Software": None})

"""What the workflow costs beside its jobs' work: real chains as jobs of shards, and all of it in one process."""

import json
import sys

import numpy as np
import pytest
import yaml
from measure import ROOT, made_up_run, print_table, run_child, run_python

from hardfold.structure.parse import read_chain

pytestmark = pytest.mark.benchmark
CHAINS, SHARD, ROWS = 400, 100, 100
GOAL = 0.05  # of the work

# What the four rules that run once a shard call; prints the seconds of the processor by rule.
WORK = """
import json, sys, time
from pathlib import Path
from hardfold import dataset, download
from hardfold.inputs import read_inputs, records
from hardfold.jobs import shards
from hardfold.search.shard import search_shard
from hardfold.structure.quality import extract_shard
config, out, spent = json.loads(sys.argv[1]), Path("again"), {}
def timed(name, function, *arguments, **options):
    start = time.process_time()
    function(*arguments, **options)
    spent[name] = spent.get(name, 0) + time.process_time() - start
chains, targets = read_inputs("chains.tsv", "config/casp/targets.tsv")
known = records(chains, targets)
for name, ids in shards(list(chains["chain"]), config["shard_size"], "chains").items():
    own, raw = [known[id] for id in ids], out / "raw" / name
    structures, alignments = out / f"{name}.h5", out / "a3m" / name
    timed("download_structures", download.download_shard, records=own, mirror=["mirror"], archive="", cache=out,
          offline=True, folder=raw, table=out / f"raw/{name}.tsv")
    timed("extract_structures", extract_shard, records=own, folder=raw, downloads=out / f"raw/{name}.tsv",
          limits=config["structures"], chains=structures, qc=out / f"{name}.tsv")
    timed("search_alignments", search_shard, structures, alignments, out / f"a3m/{name}.tsv", provider="given",
          database="", given="given", cache="", iterations=1, evalue=1, min_coverage=0, threads=1)
    timed("build_dataset", dataset.build_shard, structures, alignments, out / f"data/{name}.h5", **config["dataset"])
print(json.dumps(spent))
"""


@pytest.fixture
def own(pdb_files, tmp_path, monkeypatch):
    """The configuration of a run of real chains in the working directory, each with a made-up alignment."""
    alignments = {"provider": "given", "given": "given"}
    settings = {"shard_size": SHARD, "inputs": {"targets": "config/casp/targets.tsv"}, "alignments": alignments}
    own = made_up_run(tmp_path, 0, settings)
    chosen = pdb_files[:: len(pdb_files) // CHAINS][:CHAINS]
    (tmp_path / "chains.tsv").write_text("chain\n" + "".join(f"{path.stem}\n" for path in chosen))
    (tmp_path / "given").mkdir()
    rng = np.random.default_rng(0)
    for path in chosen:
        (tmp_path / "mirror" / path.name).symlink_to(path)
        sequence = read_chain(path, path.stem.partition("_")[2]).sequence
        letters = rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), (ROWS, len(sequence)))
        rows = [sequence, *map("".join, np.where(rng.random(letters.shape) < 0.5, list(sequence), letters))]
        text = "".join(f">{number}\n{row}\n" for number, row in enumerate(rows))
        (tmp_path / f"given/{path.stem}.a3m").write_text(text)
    monkeypatch.chdir(tmp_path)
    return own


def test_overhead_of_jobs(own):
    shards = [f"results/dataset/shards/chains00/chains{number:04d}.h5" for number in range(CHAINS // SHARD)]
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", own]
    snakemake += ["--quiet", "all", "--cores", 1]
    of_one = [*snakemake, "--dry-run", "--", "results/structures/raw/chains00/chains0000.tsv"]
    start = min(run_child(*of_one)["cpu"] for _ in range(3))
    total = run_child(*snakemake, "--", *shards)["cpu"]
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"shard_size": SHARD}
    work = json.loads(run_python(WORK, json.dumps(config))["output"])
    local = (total - start - sum(work.values())) / (len(work) * len(shards))
    starts = {"local": local, "Slurm": local + 2 * start}
    print(f"\nCPU-seconds: the run {total:.1f}, its work {sum(work.values()):.1f}, Snakemake's own start {start:.2f}")
    print(f"a job's start: {local:.2f}; on Slurm, with two Snakemakes more, {starts['Slurm']:.2f}")
    rows = []
    for rule, seconds in work.items():
        each = seconds / CHAINS
        shares = [f"{100 * one / (SHARD * each):.0f} %" for one in starts.values()]
        sizes = [f"{one / (GOAL * each):,.0f}" for one in starts.values()]
        rows.append([rule, f"{1000 * each:.1f}", *shares, *sizes])
    header = [
        "rule",
        "CPU ms a chain",
        f"start / work of {SHARD} chains",
        "on Slurm",
        "chains a job for 5 %",
        "on Slurm",
    ]
    print_table("Overhead", header, rows)

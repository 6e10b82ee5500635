"""The real Snakefile on a tiny configuration: from structures to the report, then nothing to be done."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_run import CHAINS, OPTIONS, ROOT, TARGETS, build_folder, command, environment, needs_search_tools

from hardfold.contact.keys import BASELINES
from hardfold.dataset import Dataset
from hardfold.jobs import gpu_slots
from hardfold.structure.parse import read_model
from hardfold.weights import loading_mb

pytestmark = [pytest.mark.workflow, needs_search_tools]


def snakemake(folder: Path, *arguments: str, change: dict | None = None) -> subprocess.CompletedProcess:
    """Run the real Snakefile in `folder`; `change` is merged over the tiny configuration."""
    words = command(folder, "--cores", "2", *arguments, change=change)
    return subprocess.run(words, capture_output=True, text=True, env=environment())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def results(folder):
    run = snakemake(folder)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    (folder / "run.log").write_text(run.stdout + run.stderr)
    return folder / "results"


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def test_the_report_is_written(results):
    page = (results / "report/report.html").read_text()
    assert "data:image/png;base64," in page
    assert "<script src" not in page and "http-equiv" not in page
    text = (results / "report/report.md").read_text()
    assert "| as published |" in text and "| 0.432 |" in text  # inputs.reference_scores
    figures = {path.stem for path in (results / "report/figures").iterdir()}
    assert {"folding_errors", "folding_maps", "folding_controls", "folding_adaptation"} <= figures


def test_every_chain_and_target_has_a_quality_row(results):
    quality = table(results / "structures/qc.tsv").set_index("chain")
    assert len(quality) == CHAINS + 1 + TARGETS
    assert quality.loc["9zzz_A", "status"] == "dropped" and "mirror" in quality.loc["9zzz_A", "reason"]
    kept = quality[quality["status"] == "kept"]
    assert len(kept) == CHAINS + TARGETS
    # The source holds none of these: they count as not checked, never as passed.
    assert (kept["checks_not_possible"] == "resolution,method,release_date").all()


def test_every_kept_chain_is_aligned_and_assigned(results):
    kept = set(table(results / "structures/qc.tsv").query("status == 'kept'")["chain"])
    assert set(table(results / "alignments/summary.tsv")["chain"]) == kept
    assert set(table(results / "splits/assignment.tsv")["chain"]) == kept
    assert (table(results / "splits/audit.tsv")["date_barrier"] == "unknown").all()


def test_scores_cover_every_target_arm_and_seed(results):
    scores = table(results / "folding/scores.tsv")
    runs = set(zip(scores["arm"], scores["seed"], strict=True))
    once = {"baseline_alignment", "nearest_training"}
    assert runs == {(arm, "1") for arm in {*OPTIONS["folding"]["arms"]} - once} | {
        (arm, "0") for arm in ("baseline", "random_walk", *once)
    }
    assert (scores.groupby(["arm", "seed"])["target"].nunique() == TARGETS).all()
    predicted = scores["arm"] != "nearest_training"  # no training chain is near a target
    assert scores["tm"][predicted].astype(float).between(0, 1).all() and (scores["tm"][~predicted] == "").all()


def test_no_arm_but_memorisation_is_trained_on_what_it_predicts(results):
    split = table(results / "splits/assignment.tsv").set_index("chain")["split"]
    folds = table(results / "folding/leave_one_out/folds.tsv").set_index("target")["fold"].astype(int)
    names = ["disjoint", "disjoint_alignment", "memorisation", "control_shuffled_labels"]
    names += ["leave_one_out/fold1", "leave_one_out/fold2"]
    trained = {
        name: json.loads((results / f"folding/{name}/seed1/training.json").read_text())["chains"] for name in names
    }
    chains = (split == "train").sum()
    assert trained == {
        "disjoint": chains,
        "disjoint_alignment": chains,
        "control_shuffled_labels": chains,
        "memorisation": TARGETS,
        **{f"leave_one_out/fold{fold}": (folds != fold).sum() for fold in (1, 2)},
    }
    for fold in (1, 2):
        assert set(Dataset(results / f"folding/leave_one_out/fold{fold}/train.h5").ids) == set(
            folds.index[folds != fold]
        )
    assert trained["disjoint"] != TARGETS  # otherwise the counts could not tell them apart
    ids = {name: set(Dataset(results / f"dataset/{name}.h5").ids) for name in ("train", "validation", "test", "target")}
    assert ids["target"] == set(split.index[split == "target"])
    assert not ids["target"] & (ids["train"] | ids["validation"] | ids["test"])
    assert not ids["train"] & (ids["validation"] | ids["test"])


def test_the_untrained_adapter_changes_nothing(results):
    records = [*(results / "folding").glob("**/training.json"), results / "folding/test_time/seed1/adaptation.json"]
    assert len(records) == 7
    assert all(json.loads(record.read_text())["step0_max_difference"] == 0 for record in records)
    for baseline in (results / "folding/baseline/seed0").glob("*.cif"):
        step0 = results / "folding/test_time/seed1/steps/0" / baseline.name
        assert step0.read_bytes() == baseline.read_bytes()


def test_the_control_is_the_same_adapter_with_another_alignment(results):
    folded = {
        arm: np.concatenate(
            [read_model(file).coordinates for file in sorted((results / f"folding/{arm}/seed1").glob("*.cif"))]
        )
        for arm in ("disjoint", "disjoint_alignment", "control_swapped_alignment")
    }
    own = folded.pop("disjoint_alignment")
    assert all(np.nanmax(np.abs(own - other)) > 0 for other in folded.values())


def test_no_step_beats_the_oracles(results):
    scores = table(results / "folding/scores.tsv").set_index(["arm", "target"])["tm"]
    chosen, best = (scores.loc[arm].astype(float) for arm in ("test_time", "test_time_oracle"))
    assert (best >= chosen).all()


def test_the_primary_endpoint_is_the_configured_one(results):
    primary = json.loads((results / "folding/comparison.json").read_text())["primary"]
    assert (primary["arm"], primary["class"], primary["n"]) == ("disjoint", "all", TARGETS)


def test_every_experiment_is_summarised(results):
    summary = table(results / "experiments/summary.tsv")
    predictors = summary["experiment"].tolist()  # experiments in the configuration's order
    assert sorted(predictors[:7]) == [f"exp{n}" for n in range(1, 8)] and predictors[7:] == list(BASELINES)
    assert summary["roc_auc"].astype(float).between(0, 1).all()
    # exp1 has no distances and no angles: unknown, not 0.
    exp1 = summary.set_index("experiment").loc["exp1"]
    assert exp1["distance_mae"] == "" and exp1["angle_mae"] == ""
    targets, bands = (table(results / f"experiments/{name}.tsv") for name in ("targets", "bands"))
    assert targets["experiment"].tolist() == predictors and (targets["proteins"] == str(TARGETS)).all()
    held_out = bands[(bands["split"] == "held_out") & (bands["by"] == "neff")]
    proteins = held_out["proteins"].astype(int).groupby(held_out["experiment"]).sum()
    assert (proteins == int(exp1["proteins"]) + TARGETS).all() and set(proteins.index) == set(predictors)


def test_experiments_are_compared_by_question_and_with_the_baselines(results):
    compared = table(results / "experiments/comparisons.tsv")
    questions = compared[compared["question"] != "baseline"]
    # Of losses the later one in the configuration comes first.
    pairs = questions[["question", "first", "second"]].drop_duplicates().itertuples(index=False)
    assert {(question, *(sorted(pair) if question == "losses" else pair)) for question, *pair in pairs} == {
        ("alignment", "exp2", "exp1"), ("auxiliary_tasks", "exp3", "exp2"), ("losses", "exp3", "exp4"),
        ("losses", "exp3", "exp5"), ("losses", "exp4", "exp5"), ("size", "exp6", "exp5"), ("couplings", "exp7", "exp5"),
    }  # fmt: skip
    cells = compared.groupby(["question", "first", "second"]).size()
    assert len(cells) == 7 + 7 * len(BASELINES)
    summary = table(results / "experiments/summary.tsv").set_index("experiment")
    tied = set(summary.index[summary["p_at_l_long"] == ""])  # baselines that score all pairs alike have no P@L
    assert "base_rate" in tied and tied < set(BASELINES)
    assert {pair[2] for pair in cells.index[cells < 3 * 3]} == tied


@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes want two GPUs")
def test_an_experiment_is_trained_on_two_devices(results):
    assert json.loads((results / "experiments/exp4/config.json").read_text())["options"]["devices"] == 2
    log = (results / "logs/train_experiment/exp4.log").read_text()
    assert log.count("epoch 1: train_loss") == log.count("best epoch 1") == 1  # rank zero alone logs


# What Snakemake's command line does not print where a rule has a message.
RESOURCES = """
import json, sys
from pathlib import Path
from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi

snakefile, folder, target = sys.argv[1:]
files = [Path(folder, name) for name in ("tiny.yaml", "change.yaml")]
with SnakemakeApi(OutputSettings(quiet={"all"})) as api:
    flow = api.workflow(
        ResourceSettings(cores=8, resources={"gpu": 4}), ConfigSettings(configfiles=files),
        snakefile=Path(snakefile), workdir=Path(folder),
    )
    flow.dag(DAGSettings(targets={target})).execute_workflow(executor="dryrun")
    (job,) = [job for job in flow._workflow.dag.jobs if target in job.output]
    print(json.dumps({"threads": job.threads, **job.resources}))
"""


ON_NODES = {"nodes", "tasks", "mpi", "gres", "tasks_per_gpu"}


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({"devices": 2}, {"gpu": 2}),
        ({"devices": 4, "nodes": 2}, {"nodes": 2, "tasks": 2, "mpi": "srun", "gres": "gpu:2", "tasks_per_gpu": 0}),
    ],
)
def test_a_training_asks_for_what_its_devices_need_on_each_node(folder, options, asked):
    change = {"experiments": {"runs": {"exp4": {**options, "num_workers": 1}}}}
    (folder / "change.yaml").write_text(yaml.safe_dump(change))
    words = [sys.executable, "-c", RESOURCES, ROOT / "Snakefile", folder, "results/experiments/exp4/model.safetensors"]
    job = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    loaded = [loading_mb(name, folder / "models", folder / "none") for name in ("esm2_t2_tiny", "esm_msa1b_t2_tiny")]
    assert all(0 < size < 100 for size in loaded)
    assert (job["threads"], job["mem_mb"]) == (4, 2 * (4000 + sum(loaded)))
    assert {key: value for key, value in job.items() if key in ON_NODES | {"gpu"}} == asked


def test_nodes_without_slurm_are_refused_before_any_job(folder, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    change = {"experiments": {"runs": {"exp4": {"devices": 2, "nodes": 2}}}}
    run = snakemake(folder, "results/experiments/exp4/model.safetensors", change=change)
    assert run.returncode and "nodes: a training on several needs --profile profiles/slurm" in run.stdout + run.stderr
    assert "Select jobs to execute" not in run.stdout + run.stderr


def test_more_devices_than_gpus_are_refused_before_any_job(folder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    change = {"experiments": {"runs": {"exp1": {"devices": 2}}}}
    run = snakemake(folder, "results/experiments/exp1/model.safetensors", change=change)
    assert run.returncode and "devices: 2, but there are 1 GPUs to use" in run.stdout + run.stderr
    assert "Select jobs to execute" not in run.stdout + run.stderr


def test_frozen_layers_are_run_once_for_all_experiments(results):
    embedded = {file.parent.name for file in (results / "embeddings").glob("*/*.h5")}
    assert embedded == {
        "couplings",  # of exp7 and a baseline, by a rule of its own
        "esm2_t2_tiny.layer1.features",
        "esm2_t2_tiny.layer2.attention",  # of the baselines
        "esm2_t3_tiny.layer2.features",
        "esm_msa1b_t2_tiny.layer2.rows4.features",
        "profile",  # of the arms that read alignments, by a rule of its own
    }
    assert len(list((results / "logs/embed_chains").iterdir())) == len(embedded) - 2
    log = (results / "logs/train_experiment/exp3.log").read_text()
    assert "esm_msa read from results/embeddings/esm_msa1b_t2_tiny.layer2.rows4.features/train.h5" in log


def test_nothing_is_left_to_be_done(results, folder):
    again = snakemake(folder, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_report_comes_back_without_training(results, folder):
    (results / "report/report.html").unlink()
    planned = snakemake(folder, "--dry-run", "report")
    assert "write_report" in planned.stdout and "train_experiment" not in planned.stdout


def test_another_cache_makes_nothing_again(results, folder):
    elsewhere = {section: {"cache": "elsewhere"} for section in ("inputs", "alignments", "weights")}
    planned = snakemake(folder, "--dry-run", change=elsewhere)
    assert planned.returncode == 0
    assert not any(rule in planned.stdout for rule in ("download_structures", "search_alignments", "fetch_weights"))


def test_a_changed_option_reruns_what_rests_on_it_and_no_more(results, folder):
    planned = snakemake(folder, "--dry-run", change={"scoring": {"bootstrap": 300}})
    assert "compare_arms" in planned.stdout and "score_contacts" in planned.stdout
    assert not any(rule in planned.stdout for rule in ("train_experiment", "predict_experiment", "finetune_folding"))


def test_a_misspelt_key_is_refused_by_name_before_any_job(folder):
    refused = snakemake(folder, "--dry-run", change={"splits": {"identiy": 0.3}})
    assert refused.returncode != 0
    message = refused.stdout + refused.stderr
    assert "splits: unknown key identiy" in message and "Traceback" not in message


def test_a_published_score_that_is_none_is_refused_by_name_before_any_job(folder):
    (folder / "wrong.tsv").write_text("target\tunit\tsource\ttm\nT1\tchain\tservers\t56\n")
    refused = snakemake(folder, "--dry-run", change={"inputs": {"reference_scores": "wrong.tsv"}})
    assert "wrong.tsv, line 2: '56' as tm is not a number from 0 to 1" in refused.stdout + refused.stderr


def test_a_class_without_targets_is_refused_by_name_before_any_job(folder):
    refused = snakemake(folder, "--dry-run", change={"primary": {"class": "Hard"}})
    assert "primary.class: Hard is neither all nor hard nor a class of" in refused.stdout + refused.stderr


def test_missing_weights_are_refused_by_name_before_any_job(folder):
    refused = snakemake(folder, "--dry-run", change={"folding": {"model": "esmfold_v1", "arms": ["disjoint"]}})
    assert "has no esmfold_v1 (config.json and model.safetensors)" in refused.stdout + refused.stderr


def test_a_missing_database_is_refused_by_name_before_any_job(folder):
    refused = snakemake(folder, "--dry-run", change={"alignments": {"database": "nowhere/uniclust"}})
    assert refused.returncode != 0
    message = refused.stdout + refused.stderr
    assert "nowhere/uniclust_a3m.ffdata does not exist" in message and "Traceback" not in message


def test_jobs_that_ask_for_a_gpu_are_limited(results, folder):
    # An undocumented corner of Snakemake: the Snakefile sets the default of a global resource.
    line = next(line for line in (folder / "run.log").read_text().splitlines() if line.startswith("Provided resources"))
    assert re.search(r"gpu\D+(\d+)", line)[1] == str(gpu_slots())

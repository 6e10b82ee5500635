"""The configuration: what is refused, and that the message names the key and what is allowed."""

import copy
import fnmatch
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from hardfold.config import (
    ConfigError,
    check,
    check_files,
    check_targets,
    demo_leftovers,
    pretrained_models,
    resolve_experiments,
    search_database,
    weight_files,
)

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"


@pytest.fixture
def config():
    merged = {}
    for name in ("config.yaml", "pretraining.yaml"):
        merged |= yaml.safe_load((ROOT / "config" / name).read_text())
    return copy.deepcopy(merged)


def refusal(config) -> str:
    with pytest.raises(ConfigError) as error:
        check(config, SCHEMA)
    return str(error.value)


def test_what_is_left_of_the_demo_is_named_in_a_run_of_other_chains(config):
    assert demo_leftovers(config) == []
    config["inputs"]["chains"] = "my/chains.tsv"
    assert demo_leftovers(config) == ["inputs.targets", "inputs.mirror", "alignments.pool"]
    config["alignments"]["database"] = "/data/uniclust"
    assert demo_leftovers(config) == ["inputs.targets", "inputs.mirror"]


def test_every_option_of_an_experiment_is_required_and_explained(config):
    experiments = yaml.safe_load(SCHEMA.read_text())["properties"]["experiments"]["properties"]["defaults"]
    options = set(experiments["properties"])
    assert options == set(experiments["required"]) == set(config["experiments"]["defaults"])
    section = (ROOT / "config/README.md").read_text().split("## experiments")[1].split("\n## ")[0]
    explained = set()
    for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE):
        first, *others = re.findall(r"`(.+?)`", row)
        # `lora_rank_esm2`, `_msa` are two; `*_loss_weight` is one for each task.
        names = [first, *(first.rsplit("_", 1)[0] + name if name.startswith("_") else name for name in others)]
        explained |= {option for name in names for option in fnmatch.filter(options, name)}
    assert options - explained == set()


def test_embedded_default_is_accepted(config):
    check(config, SCHEMA)


def test_unknown_key_is_named_with_what_is_allowed(config):
    config["splits"]["identiy"] = 0.3
    message = refusal(config)
    assert "splits: unknown key identiy" in message
    assert "identity" in message.split("allowed:")[1]


def test_unknown_key_of_an_experiment_is_named(config):
    config["experiments"]["runs"]["exp1"]["learning_rat"] = 0.1
    assert "experiments.runs.exp1: unknown key learning_rat" in refusal(config)


def test_choice_outside_the_list_is_named(config):
    config["experiments"]["runs"]["exp4"]["angle_loss_type"] = "cosin"
    message = refusal(config)
    assert "'cosin' is not allowed" in message and "mse, cosine, cross_entropy" in message


def test_empty_section_is_refused(config):
    config["splits"] = None
    assert "splits: None is not of type 'object'" in refusal(config)


def test_all_faults_are_reported_at_once(config):
    config["seed"] = -1
    config["splits"]["coverage"] = 2
    message = refusal(config)
    assert "seed:" in message and "splits.coverage:" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"structures": {"min_length": 2000}}, "structures.min_length"),
        ({"splits": {"test": 0.9, "validation": 0.2}}, "splits.validation"),
        ({"alignments": {"pool": "", "database": ""}}, "one of database or pool"),
        ({"alignments": {"provider": "given"}}, "alignments.given: empty"),
        ({"alignments": {"provider": "blast"}}, "'blast' is not allowed; choose one of hhblits, mmseqs2, jackhmmer"),
        ({"folding": {"arms": ["memorisation"]}}, "primary.arm"),
        (
            {"folding": {"arms": ["disjoint", "test_time_oracle"]}},
            "folding.arms: test_time_oracle chooses",
        ),
        ({"folding": {"arms": ["disjoint", "test_time"], "half_stem": True}}, "folding.half_stem: test_time trains"),
        (
            {"folding": {"arms": ["disjoint", "control_swapped_alignment"]}},
            "folding.arms: control_swapped_alignment folds with the adapter of disjoint_alignment",
        ),
        (
            {"folding": {"model": "esmfold_v1", "arms": ["disjoint", "baseline_alignment"]}},
            "folding.arms: baseline_alignment needs a model of weights.folder with alignment.safetensors",
        ),
        ({"folding": {"arms": ["disjoint", "random_walk"]}}, "'random_walk' is not allowed; choose one of baseline_al"),
        ({"folding": {"training_cutoff": "2020-02-30"}}, "folding.training_cutoff: 2020-02-30 is no day"),
        ({"splits": {"cutoff_date": "2020-13-01"}}, "splits.cutoff_date: 2020-13-01 is no day"),
        ({"structures": {"methods": ["X-RAY"]}}, "'X-RAY' is not allowed; choose one of X-RAY DIFFRACTION"),
        ({"inputs": {"chains": []}}, "inputs.chains"),
        ({"inputs": {"chains": [1234]}}, "inputs.chains.0: 1234 is not of type 'string'"),
    ],
)
def test_keys_that_contradict_each_other(config, change, message):
    for section, values in change.items():
        config[section] |= values
    assert message in refusal(config)


def test_an_experiment_named_like_a_baseline_is_refused(config):
    config["experiments"]["runs"]["separation_prior"] = {"learning_rate": 0.5}
    assert "experiments.runs.separation_prior: the name of a baseline" in refusal(config)


def test_the_name_of_an_esm2_tells_its_layers(config):
    config["experiments"]["defaults"]["esm2_name"] = "esm2_mine"
    assert "experiments.defaults.esm2_name: 'esm2_mine' does not match" in refusal(config)


def test_equal_experiments_are_refused_with_both_names(config):
    config["experiments"]["runs"]["again"] = {"distance_loss_type": "mse"}
    assert "experiments.runs.again: resolves to the same settings as exp3" in refusal(config)


def test_experiments_that_differ_only_in_an_option_switched_off_are_equal(config):
    config["experiments"]["runs"]["again"] = {**config["experiments"]["runs"]["exp1"], "num_msa_rows": 99}
    assert "same settings as exp1" in refusal(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sliding_window_step": 129}, "sliding_window_step: above max_length"),
        ({"max_tokens_per_batch": 127}, "max_tokens_per_batch: below max_length"),
        ({"use_msa": False, "use_msa_attention": True}, "use_msa_attention: needs use_msa"),
        ({"train_mode": "crop"}, "train_mode: 'crop' is not allowed; choose one of random_crop, truncate_seq"),
        ({"val_mode": "whole"}, "val_mode: 'whole' is not allowed; choose one of sliding_window, truncate_seq"),
        ({"num_workers": -1}, "num_workers: -1 is less than the minimum"),
        ({"devices": 0}, "devices: 0 is less than the minimum"),
        ({"devices": 9}, "devices: above batch_size"),
        ({"nodes": 0}, "nodes: 0 is less than the minimum"),
        ({"devices": 3, "nodes": 2}, "nodes: 2 cannot share 3 devices evenly"),
        ({"nodes": 2}, "nodes: 2 cannot share 1 devices evenly"),
        ({"devices": 2, "overfit_one_batch": True}, "devices: overfit_one_batch trains on one"),
        ({"lora_rank_msa": -1}, "lora_rank_msa: -1 is less than the minimum"),
    ],
)
def test_options_of_the_data_that_cannot_be_are_refused(config, change, message):
    config["experiments"]["runs"]["again"] = {"learning_rate": 0.5, **change}
    assert f"experiments.runs.again.{message}" in refusal(config)


def test_a_budget_of_null_is_no_budget(config):
    config["experiments"]["runs"]["again"] = {"max_tokens_per_batch": None}
    check(config, SCHEMA)


def test_chains_that_the_alignment_model_cannot_read_whole_are_refused(config):
    config["structures"]["max_length"] = 1024
    assert "structures.max_length: above the 1023 residues that the alignment model of exp2 reads" in refusal(config)
    config["experiments"]["defaults"]["num_layers_to_freeze_msa"] = 0  # then it reads crops alone
    check(config, SCHEMA)


@pytest.mark.parametrize(
    ("base", "change", "equal"),
    [
        ({}, {"num_workers": 2}, True),
        ({}, {"devices": 2}, True),
        ({}, {"devices": 2, "nodes": 2}, True),
        ({}, {"val_batch_size": 2}, True),
        ({}, {"lora_alpha": 2}, True),
        ({"lora_rank_esm2": 4}, {"lora_alpha": 2}, False),
        ({"use_msa": False}, {"lora_rank_msa": 4}, True),
        ({}, {"sliding_window_step": 2}, False),
        ({"val_mode": "truncate_seq"}, {"sliding_window_step": 2}, True),
        ({}, {"train_mode": "truncate_seq"}, False),
        ({}, {"use_couplings": True}, False),
        ({}, {"use_esm2_attention": True}, False),
        ({}, {"max_tokens_per_batch": 512}, False),
    ],
)
def test_options_of_the_data_make_a_run_another_unless_they_are_switched_off(config, base, change, equal):
    base = {"weight_decay": 0.5, **base}
    config["experiments"]["runs"] |= {"one": base, "two": {**base, **change}}
    if equal:
        assert "experiments.runs.two: resolves to the same settings as one" in refusal(config)
    else:
        check(config, SCHEMA)


def test_run_options_override_the_defaults(config):
    config["experiments"]["runs"] = {"one": {"num_epochs": 77}, "two": None}
    resolved = resolve_experiments(config)
    assert resolved["one"]["num_epochs"] == 77
    assert resolved["two"] == config["experiments"]["defaults"]


def test_only_models_in_use_are_asked_for(config):
    own = {"use_msa": False, "esm_msa_name": "esm_msa1b_unused", "esm2_name": "esm2_t2_own"}
    config["experiments"]["runs"] = {"exp1": own}
    # The baselines are of the default's ESM-2.
    assert pretrained_models(config) == sorted(
        [config["folding"]["model"], config["experiments"]["defaults"]["esm2_name"], "esm2_t2_own"]
    )


def test_files_that_are_not_there_are_named(config, tmp_path):
    config["inputs"]["mirror"] = str(tmp_path / "mirror")
    config["alignments"]["database"] = str(tmp_path / "uniclust")
    with pytest.raises(ConfigError) as error:
        check_files(config)
    assert "inputs.mirror" in str(error.value)
    assert "uniclust_cs219.ffindex does not exist" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("precision", "bf16", "precision: 'bf16' is not allowed"),
        ("validate_evry", 3, "unknown key validate_evry"),
        ("devices", 3, "devices: above the batch of a stage"),
        ("validate_every", 3, "stages: steps are no multiple of validate_every"),
    ],
)
def test_recipes_of_pretraining_are_checked_key_by_key(config, key, value, message):
    config["pretraining"]["presets"]["tiny"]["models"]["esmfold_tiny_hardfold"][key] = value
    with pytest.raises(ConfigError, match=message):
        check(config, SCHEMA)


def test_limits_of_pretraining_are_shares(config):
    config["pretraining"]["presets"]["tiny"]["data"]["min_identity"] = 30
    with pytest.raises(ConfigError, match="min_identity: 30"):
        check(config, SCHEMA)


def test_presets_of_pretraining_and_what_they_must_not_learn_are_there(config):
    config["pretraining"]["exclude"] = {"CASP13/14": ["natives"]}
    with pytest.raises(ConfigError, match=r"pretraining\.exclude\.CASP13/14 \(natives\): natives does not exist"):
        check_files(config)
    config["pretraining"]["preset"] = "huge"
    assert "choose one of tiny, cpu, gpu, full" in refusal(config)
    config["pretraining"]["preset"] = "tiny"
    config["pretraining"]["presets"]["gpu"]["models"]["esmfold_8M_hardfold"]["stem"] = "esm2_t6_2M_hardfold"
    assert "esm2_t6_2M_hardfold is no sequence model of this preset" in refusal(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"database": "db"}, "alignments.database (db_a3m.ffdata): db_a3m.ffdata does not exist"),
        ({"provider": "mmseqs2", "database": "db"}, "alignments.database: db does not exist"),
        ({"provider": "mmseqs2", "database": "half"}, "alignments.database (half.index): half.index does not exist"),
        ({"provider": "jackhmmer", "database": "db"}, "alignments.database (db): db does not exist"),
        ({"provider": "jackhmmer", "pool": "none.fasta"}, "alignments.pool: none.fasta does not exist"),
        ({"provider": "given", "given": "none"}, "alignments.given: none does not exist"),
    ],
)
def test_what_the_provider_searches_is_there(config, tmp_path, monkeypatch, change, message):
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    (tmp_path / "half.dbtype").touch()
    monkeypatch.chdir(tmp_path)
    check_files(config)
    config["alignments"] |= change
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_files(config)


@pytest.mark.parametrize(
    ("change", "database", "pool"),
    [
        ({}, "results/alignments/database/pool", "p.fasta"),
        ({"database": "ready"}, "ready", ""),
        ({"provider": "mmseqs2"}, "results/alignments/database/pool.mmseqs", "p.fasta"),
        ({"provider": "mmseqs2", "database": "ready"}, "ready", ""),
        ({"provider": "mmseqs2", "database": "d.fasta"}, "results/alignments/database/pool.mmseqs", "d.fasta"),
        ({"provider": "jackhmmer"}, "results/alignments/database/pool.fasta", "p.fasta"),
        ({"provider": "jackhmmer", "database": "d.fasta"}, "d.fasta", ""),
        ({"provider": "given"}, "", ""),
    ],
)
def test_what_a_provider_searches_is_ready_or_built(tmp_path, monkeypatch, change, database, pool):
    (tmp_path / "ready.dbtype").touch()
    monkeypatch.chdir(tmp_path)
    assert search_database({"provider": "hhblits", "database": "", "pool": "p.fasta", **change}) == (database, pool)


def test_weights_are_asked_for_where_a_run_needs_them(config, tmp_path):
    config["weights"]["folder"] = str(tmp_path)
    check_files(config)  # enough for the data set
    config["weights"]["cache"] = str(tmp_path / "cache")
    with pytest.raises(ConfigError, match=r"weights\.folder: .* has no esm2_t6_8M \(esm2_t6_8M\.pt and"):
        weight_files(config, "esm2_t6_8M")
    (tmp_path / "cache/esm2_t6_8M").mkdir(parents=True)
    (tmp_path / "cache/esm2_t6_8M/esm2_t6_8M.pt").touch()
    (tmp_path / "cache/esm2_t6_8M/weights.json").write_text('{"files": {"esm2_t6_8M.pt": ""}}')
    assert weight_files(config, "esm2_t6_8M") == []  # offline, from the cache
    config["inputs"]["offline"] = False
    assert weight_files(config, "esm2_t6_8M") == []
    assert weight_files(config, "esmfold_v1") == []


@pytest.mark.parametrize("mirror", ["", []])
def test_offline_without_a_mirror_is_refused(config, mirror):
    config["inputs"]["mirror"] = mirror
    with pytest.raises(ConfigError, match=r"inputs\.mirror: empty"):
        check_files(config)


def test_each_mirror_is_a_folder(config, tmp_path):
    (tmp_path / "file").touch()
    config["inputs"]["mirror"] = [str(tmp_path), str(tmp_path / "file")]
    check(config, SCHEMA)
    with pytest.raises(ConfigError, match=r"inputs\.mirror: .*file is no folder"):
        check_files(config)


DISTANCE = {"main_task": "distance", "distance_loss_type": "cross_entropy"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({**DISTANCE, "use_distance": False}, "main_task: distance, but use_distance is false"),
        ({"main_task": "distance"}, "main_task: distance needs the distance_loss_type cross_entropy"),
        ({**DISTANCE, "num_distance_bins": 36}, "main_task: distance, but 36 bins up to 20 angstrom have no edge at 8"),
        ({"max_distance": 2.0}, "max_distance: not above 2 angstrom"),
        ({"use_contact": False}, "main_task: contact, but use_contact is false"),
        ({"use_scheduler": True, "eta_min": 0.5}, "eta_min: not below learning_rate"),
        ({"checkpoints_metric": "validation_loss"}, "maximize_metric: true would keep the worst epoch"),
        ({"maximize_metric": False}, "maximize_metric: false would keep the worst epoch by validation_roc_auc"),
        (
            {"use_angle": False, "checkpoints_metric": "validation_angle", "maximize_metric": False},
            "checkpoints_metric: validation_angle, but its task is off",
        ),
        ({"checkpoint_path_to_load": "results/experiments/again/model.safetensors"}, "checkpoint_path_to_load: the ex"),
        ({"precision": "64"}, "precision: '64' is not allowed; choose one of 32-true, bf16-mixed, 16-mixed"),
        ({"contact_loss_type": "hinge"}, "contact_loss_type: 'hinge' is not allowed; choose one of bce, focal"),
        ({"focal_alpha": 1.5}, "focal_alpha: 1.5"),
        ({"accumulate_batches": 0}, "accumulate_batches: 0"),
        ({"gradient_clip": -1}, "gradient_clip: -1"),
        ({"save_best_k_checkpoints": 0}, "save_best_k_checkpoints: 0"),
        ({"t_mult": 1.5}, "t_mult: 1.5"),
    ],
)
def test_options_of_the_training_that_cannot_be_are_refused(config, change, message):
    config["experiments"]["runs"]["again"] = {"learning_rate": 0.5, **change}
    assert f"experiments.runs.again.{message}" in refusal(config)


@pytest.mark.parametrize(
    "change",
    [
        {**DISTANCE, "use_contact": False},
        {**DISTANCE, "num_distance_bins": 4},
        {"checkpoints_metric": "validation_pr_auc"},
        {"checkpoints_metric": "validation_distance", "maximize_metric": False},
        {"use_scheduler": True, "eta_min": 0.49},
        {"checkpoint_path_to_load": "results/experiments/exp3/model.safetensors"},
        {"gradient_clip": 0},
    ],
)
def test_options_of_the_training_that_can_be_are_accepted(config, change):
    config["experiments"]["runs"]["again"] = {"learning_rate": 0.5, **change}
    check(config, SCHEMA)


FOCAL = {"contact_loss_type": "focal"}


@pytest.mark.parametrize(
    ("base", "change", "equal"),
    [
        ({}, {"focal_gamma": 1.0}, True),
        (FOCAL, {"focal_gamma": 1.0}, False),
        (FOCAL, {"focal_alpha": 0.5}, False),
        (FOCAL, {"positive_weight": 1.0}, True),
        ({}, FOCAL, False),
        ({}, {"t_0": 3, "t_mult": 2, "eta_min": 1e-5}, True),
        ({"use_scheduler": True}, {"t_0": 3}, False),
        ({}, {"use_scheduler": True}, False),
        (DISTANCE, {"use_contact": False}, False),
        ({**DISTANCE, "use_contact": False}, {**FOCAL, "contact_loss_weight": 9.0}, True),
        (DISTANCE, {"main_task": "contact"}, False),
        ({}, {"precision": "bf16-mixed"}, False),
        ({}, {"accumulate_batches": 2}, False),
        ({}, {"gradient_clip": 0.5}, False),
        ({}, {"overfit_one_batch": True}, False),
        ({}, {"checkpoint_path_to_load": "other/model.safetensors"}, False),
        ({}, {"checkpoints_metric": "validation_pr_auc"}, False),
        ({}, {"save_best_k_checkpoints": 3}, True),
    ],
)
def test_options_of_the_training_that_change_nothing_make_no_other_run(config, base, change, equal):
    config["experiments"]["runs"] = {"first": base, "second": {**base, **change}}
    if equal:
        assert "experiments.runs.second: resolves to the same settings as first" in refusal(config)
    else:
        check(config, SCHEMA)


def test_tracking_needs_a_server(config):
    config["tracking"]["enabled"] = True
    assert "tracking.tracking_uri: empty, but tracking.enabled is true" in refusal(config)
    config["tracking"]["tracking_uri"] = "sqlite:///mlflow.db"
    assert "tracking.tracking_uri: 'sqlite:///mlflow.db' does not match" in refusal(config)
    config["tracking"]["tracking_uri"] = "http://127.0.0.1:5000"
    check(config, SCHEMA)


def test_the_stems_checkpoint_is_fetched_for_the_arm_that_reads_it(config):
    config["folding"]["test_time"]["language_model"] = "esm2_t36_3B_UR50D"
    assert "esm2_t36_3B_UR50D" not in pretrained_models(config)
    config["folding"]["arms"].append("test_time")
    assert "esm2_t36_3B_UR50D" in pretrained_models(config)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("leave_one_out", {"folds": 1}),
        ("leave_one_out", {"classes": [""]}),
        ("test_time", {"language_model": "esmfold_v1"}),
        ("test_time", {"mask_fraction": 0}),
        ("test_time", {"choose_by": "tm"}),
        ("test_time", {"every": 0}),
        ("test_time", {"step": 5}),
    ],
)
def test_options_of_arms_that_cannot_be_are_refused(config, section, change):
    config["folding"][section] |= change
    assert f"folding.{section}" in refusal(config)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("primary", {"class": "Hard"}, "primary.class: Hard is neither all nor hard nor a class of"),
        ("primary", {"class": "hard"}, "primary.class: hard, but resources\\S+ has no target or unit of FM, FM"),
        (
            "folding",
            {"leave_one_out": {"classes": ["deep", "odd"]}},
            "leave_one_out.classes: odd: no class of resources",
        ),
    ],
)
def test_classes_are_those_of_the_targets(config, section, change, message):
    targets = pd.DataFrame({"class": ["deep", "MultiDom"], "unit_classes": ["", "D1:TBM-easy;D2:TBM-easy"]})
    check_targets(config, targets)
    with pytest.raises(ConfigError, match=message):
        check_targets({**config, section: {**config[section], **change}}, targets)


def test_one_hard_unit_is_enough_for_a_hard_endpoint(config):
    config["primary"]["class"] = "hard"
    for kind, units in (("MultiDom", "D1:TBM-easy;D2:TBM-hard"), ("FM|FM/TBM", ""), ("hard", "")):
        check_targets(config, pd.DataFrame({"class": [kind], "unit_classes": [units]}))


def test_one_target_cannot_exchange_its_alignment(config):
    config["folding"]["arms"] = ["disjoint", "disjoint_alignment", "control_swapped_alignment"]
    two = pd.DataFrame({"class": ["hard", "hard"], "unit_classes": ["", ""]})
    check_targets(config, two)
    with pytest.raises(ConfigError, match=r"folding.arms: control_swapped_alignment exchanges .* has only one"):
        check_targets(config, two[:1])

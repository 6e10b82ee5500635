"""The configuration: what is refused, and that the message names the key and what is allowed."""

import copy
from pathlib import Path

import pytest
import yaml

from hardfold.config import ConfigError, check, check_files, pretrained_models, resolve_experiments

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
        ({"folding": {"arms": ["memorisation"]}}, "primary.arm"),
    ],
)
def test_keys_that_contradict_each_other(config, change, message):
    for section, values in change.items():
        config[section] |= values
    assert message in refusal(config)


def test_equal_experiments_are_refused_with_both_names(config):
    config["experiments"]["runs"]["again"] = {"distance_loss_type": "mse"}
    assert "experiments.runs.again: resolves to the same settings as exp3" in refusal(config)


def test_experiments_that_differ_only_in_an_option_switched_off_are_equal(config):
    config["experiments"]["runs"]["again"] = {**config["experiments"]["runs"]["exp1"], "num_msa_rows": 99}
    assert "same settings as exp1" in refusal(config)


def test_run_options_override_the_defaults(config):
    config["experiments"]["runs"] = {"one": {"num_epochs": 77}, "two": None}
    resolved = resolve_experiments(config)
    assert resolved["one"]["num_epochs"] == 77
    assert resolved["two"] == config["experiments"]["defaults"]


def test_only_models_in_use_are_asked_for(config):
    config["experiments"]["runs"] = {"exp1": {"use_msa": False, "esm_msa_name": "esm_msa1b_unused"}}
    assert pretrained_models(config) == sorted(
        [config["folding"]["model"], config["experiments"]["defaults"]["esm2_name"]]
    )


def test_files_that_are_not_there_are_named(config, tmp_path):
    config["inputs"]["mirror"] = str(tmp_path / "mirror")
    config["alignments"]["database"] = str(tmp_path / "uniclust")
    config["weights"]["folder"] = str(tmp_path)
    with pytest.raises(ConfigError) as error:
        check_files(config)
    assert "inputs.mirror" in str(error.value)
    assert "uniclust_cs219.ffindex does not exist" in str(error.value)


def test_offline_without_a_mirror_is_refused(config):
    config["inputs"]["mirror"] = ""
    with pytest.raises(ConfigError, match=r"inputs\.mirror: empty"):
        check_files(config)

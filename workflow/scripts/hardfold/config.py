"""The configuration: checked against its schema, then across keys, before any job starts."""

import json
from pathlib import Path

import jsonschema
import yaml

from hardfold.jobs import DATABASE_FILES
from hardfold.weights import in_archive, local_files, required_files

FIRST_DISTANCE_EDGE = 2.0  # angstrom: where the distance bins begin


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names each key and what is allowed."""


def check(config: dict, schema_path: Path) -> None:
    """Raise ConfigError unless `config` fits the JSON schema and its keys agree with each other."""
    schema = yaml.safe_load(Path(schema_path).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    faults = [_describe(error) for error in sorted(validator.iter_errors(config), key=lambda e: list(map(str, e.path)))]
    if not faults:
        faults = list(_cross_faults(config))
    if faults:
        raise ConfigError("the configuration cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))


def _describe(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.path) or "top level"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(allowed))
        return f"{where}: unknown key {', '.join(unknown)}; allowed: {', '.join(allowed)}"
    if error.validator == "enum":
        return f"{where}: {error.instance!r} is not allowed; choose one of {', '.join(map(str, error.validator_value))}"
    return f"{where}: {error.message}"


def _cross_faults(config: dict):
    structures, splits = config["structures"], config["splits"]
    if structures["min_length"] > structures["max_length"]:
        yield "structures.min_length: larger than structures.max_length"
    if splits["validation"] + splits["test"] >= 1:
        yield "splits.validation: with splits.test it leaves no chain for training"
    if not any(config["alignments"][key] for key in ("database", "pool")):
        yield "alignments: one of database or pool must be given"
    seen = {}
    for name, options in resolve_experiments(config).items():
        where = f"experiments.runs.{name}"
        if not (options["use_contact"]):
            yield f"{where}.use_contact: every experiment predicts contacts"
        if options["fusion_dim"] % options["fusion_num_heads"]:
            yield f"{where}.fusion_dim: not a multiple of fusion_num_heads"
        twin = seen.setdefault(json.dumps(_effective(options), sort_keys=True), name)
        if twin != name:
            yield f"{where}: resolves to the same settings as {twin}"
        if options["use_distance"] and options["max_distance"] <= FIRST_DISTANCE_EDGE:
            yield f"{where}.max_distance: not above {FIRST_DISTANCE_EDGE:g} angstrom, where the bins begin"
        if options["use_msa"] and options["num_msa_rows"] > config["dataset"]["max_rows"]:
            yield f"{where}.num_msa_rows: more than dataset.max_rows"
    if config["primary"]["arm"] not in config["folding"]["arms"]:
        yield f"primary.arm: {config['primary']['arm']} is not among folding.arms"
    if config["folding"]["training"]["warmup"] >= config["folding"]["training"]["steps"]:
        yield "folding.training.warmup: not below folding.training.steps"


def check_files(config: dict) -> None:
    """Raise ConfigError unless the folders and files that the configuration names are there."""
    alignments, inputs = config["alignments"], config["inputs"]
    named = {
        "inputs.mirror": inputs["mirror"],
        "weights.folder": config["weights"]["folder"] if inputs["offline"] else "",
        "alignments.given": alignments["given"],
        "alignments.pool": "" if alignments["database"] else alignments["pool"],
    }
    database = alignments["database"]
    if database:
        named |= {f"alignments.database ({database}{file})": f"{database}{file}" for file in DATABASE_FILES}
    faults = [f"{key}: {path} does not exist" for key, path in named.items() if path and not Path(path).exists()]
    for model in pretrained_models(config):
        folder = config["weights"]["folder"]
        if not local_files(model, folder) and (inputs["offline"] or not in_archive(model)):
            wanted = " and ".join(required_files(model))
            faults.append(f"weights.folder: {folder} has no {model} ({wanted})")
    if inputs["offline"] and not inputs["mirror"]:
        faults.append("inputs.mirror: empty, and inputs.offline forbids the archive")
    if faults:
        raise ConfigError("the configuration names what is not there:\n" + "\n".join(f"  - {f}" for f in faults))


def _effective(options: dict) -> dict:
    """Without the options that another option switches off: two runs equal in the rest are the same run."""
    unused = set()
    if not options["use_msa"]:
        unused |= {"esm_msa_name", "num_msa_rows", "num_layers_to_freeze_msa"}
    if not options["use_distance"]:
        unused |= {"distance_loss_type", "distance_loss_weight", "max_distance", "num_distance_bins"}
    if not options["use_angle"]:
        unused |= {"angle_loss_type", "angle_loss_weight", "num_angle_bins"}
    for task in ("distance", "angle"):
        if options[f"{task}_loss_type"] != "cross_entropy":
            unused.add(f"num_{task}_bins")
    return {key: value for key, value in options.items() if key not in unused}


def resolve_experiments(config: dict) -> dict[str, dict]:
    """Experiment name -> every option: the run's own over the defaults."""
    section = config["experiments"]
    return {name: {**section["defaults"], **(own or {})} for name, own in section["runs"].items()}


def pretrained_models(config: dict) -> list[str]:
    """Names of the pretrained models that the experiments and the folding arms start from."""
    names = {config["folding"]["model"]}
    for options in resolve_experiments(config).values():
        names |= {options["esm2_name"], options["esm_msa_name"]} if options["use_msa"] else {options["esm2_name"]}
    return sorted(names)

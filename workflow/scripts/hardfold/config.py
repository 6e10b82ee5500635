"""The configuration: checked against its schema, then across keys, before any job starts."""

import json
from pathlib import Path

import jsonschema
import pandas as pd
import yaml

from hardfold.arms import ALIGNMENT, ORACLE, SWAPPED, TEST_TIME, TRAINED_ALIGNMENT
from hardfold.contact.bins import NEAREST, contact_bins
from hardfold.contact.keys import BASELINES, encoder_names
from hardfold.difficulty import ALL, HARD, HARD_CLASSES, is_hard
from hardfold.fields import is_date, parse_unit_classes
from hardfold.jobs import DATABASE_FILES
from hardfold.weights import ALIGNMENT_WEIGHTS, cached_files, local_files, required_files

_MSA_RESIDUES = 1023  # ESM-MSA-1b has 1,024 columns, and one is BOS


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
    for key, day in (
        ("splits.cutoff_date", splits["cutoff_date"]),
        ("folding.training_cutoff", config["folding"]["training_cutoff"]),
    ):
        if day and not is_date(day):
            yield f"{key}: {day} is no day of the calendar"
    if splits["validation"] + splits["test"] >= 1:
        yield "splits.validation: with splits.test it leaves no chain for training"
    alignments = config["alignments"]
    if alignments["provider"] == "given" and not alignments["given"]:
        yield "alignments.given: empty, but alignments.provider is given"
    if alignments["provider"] != "given" and not (alignments["database"] or alignments["pool"]):
        yield "alignments: one of database or pool must be given"
    seen = {}
    for name, options in resolve_experiments(config).items():
        where = f"experiments.runs.{name}"
        if name in BASELINES:
            yield f"{where}: the name of a baseline"
        yield from (f"{where}.{fault}" for fault in _training_faults(name, options))
        if options["fusion_dim"] % options["fusion_num_heads"]:
            yield f"{where}.fusion_dim: not a multiple of fusion_num_heads"
        twin = seen.setdefault(json.dumps(effective(options), sort_keys=True), name)
        if twin != name:
            yield f"{where}: resolves to the same settings as {twin}"
        yield from (f"{where}.{fault}" for fault in _reading_faults(options))
        if options["use_msa"] and options["num_layers_to_freeze_msa"] and structures["max_length"] > _MSA_RESIDUES:
            yield f"structures.max_length: above the {_MSA_RESIDUES} residues that the alignment model of {name} reads"
        if options["use_msa"] and options["num_msa_rows"] > config["dataset"]["max_rows"]:
            yield f"{where}.num_msa_rows: more than dataset.max_rows"
    if config["tracking"]["enabled"] and not config["tracking"]["tracking_uri"]:
        yield "tracking.tracking_uri: empty, but tracking.enabled is true"
    yield from _pretraining_faults(config["pretraining"])
    blocks = config["folding"]["losses"]["fape_blocks"]
    if blocks and not any(blocks):
        yield "folding.losses.fape_blocks: all are 0"
    if config["primary"]["arm"] not in config["folding"]["arms"]:
        yield f"primary.arm: {config['primary']['arm']} is not among folding.arms"
    if ORACLE in config["folding"]["arms"] and TEST_TIME not in config["folding"]["arms"]:
        yield f"folding.arms: {ORACLE} chooses among the steps of {TEST_TIME}, which is not among them"
    if TEST_TIME in config["folding"]["arms"] and config["folding"]["half_stem"]:
        yield f"folding.half_stem: {TEST_TIME} trains the stem in fp32, so its step 0 would not be the baseline"
    if SWAPPED in config["folding"]["arms"] and ALIGNMENT not in config["folding"]["arms"]:
        yield f"folding.arms: {SWAPPED} folds with the adapter of {ALIGNMENT}, which is not among them"
    if TRAINED_ALIGNMENT in config["folding"]["arms"]:
        model = local_files(config["folding"]["model"], config["weights"]["folder"])
        if ALIGNMENT_WEIGHTS not in [path.name for path in model]:
            yield f"folding.arms: {TRAINED_ALIGNMENT} needs a model of weights.folder with {ALIGNMENT_WEIGHTS}"
    if config["folding"]["training"]["warmup"] >= config["folding"]["training"]["steps"]:
        yield "folding.training.warmup: not below folding.training.steps"


def _pretraining_faults(pretraining: dict):
    presets, preset = pretraining["presets"], pretraining["preset"]
    if preset not in presets:
        yield f"pretraining.preset: {preset!r} is not allowed; choose one of {', '.join(presets)}"
    for name, recipes in presets.items():
        for model, settings in recipes["models"].items():
            stem = settings.get("stem")
            if settings["kind"] == "folding" and recipes["models"].get(stem, {}).get("kind") != "sequence":
                yield f"pretraining.presets.{name}.models.{model}.stem: {stem} is no sequence model of this preset"
            stages = settings.get("stages", [])
            if settings["warmup"] >= settings.get("steps", sum(stage["steps"] for stage in stages)):
                yield f"pretraining.presets.{name}.models.{model}.warmup: not below its steps"
            if not settings.get("read_alignments") and any(stage["aligned"] for stage in stages):
                yield f"pretraining.presets.{name}.models.{model}.stages: aligned, but read_alignments is 0"
            if any(stage["steps"] % settings["validate_every"] for stage in stages):
                yield f"pretraining.presets.{name}.models.{model}.stages: steps are no multiple of validate_every"
            if any(stage["batch"] < settings["devices"] for stage in stages):
                yield f"pretraining.presets.{name}.models.{model}.devices: above the batch of a stage"


def _reading_faults(options: dict):
    if options["val_mode"] == "sliding_window" and options["sliding_window_step"] > options["max_length"]:
        yield "sliding_window_step: above max_length, so residues between windows would not be seen"
    if options["max_tokens_per_batch"] is not None and options["max_tokens_per_batch"] < options["max_length"]:
        yield "max_tokens_per_batch: below max_length, not one crop fits"
    if options["devices"] > options["batch_size"]:
        yield "devices: above batch_size, so some would never have a chain"
    if options["devices"] % options["nodes"]:
        yield f"nodes: {options['nodes']} cannot share {options['devices']} devices evenly"
    if options["devices"] > 1 and options["overfit_one_batch"]:
        yield "devices: overfit_one_batch trains on one"
    if options["use_msa_attention"] and not options["use_msa"]:
        yield "use_msa_attention: needs use_msa"


def _training_faults(name: str, options: dict):
    if options["use_distance"] and options["max_distance"] <= NEAREST:
        yield f"max_distance: not above {NEAREST:g} angstrom, where the bins begin"
    elif options["main_task"] == "distance" and options["use_distance"]:
        try:
            contact_bins(options["max_distance"], options["num_distance_bins"])
        except ValueError as fault:
            yield f"main_task: distance, but {fault}"
    if not options[f"use_{options['main_task']}"]:
        yield f"main_task: {options['main_task']}, but use_{options['main_task']} is false"
    if options["main_task"] == "distance" and options["distance_loss_type"] != "cross_entropy":
        yield "main_task: distance needs the distance_loss_type cross_entropy"
    if options["use_scheduler"] and options["eta_min"] >= options["learning_rate"]:
        yield "eta_min: not below learning_rate, where the schedule begins"
    metric = options["checkpoints_metric"]
    if not options.get(f"use_{metric.removeprefix('validation_')}", True):
        yield f"checkpoints_metric: {metric}, but its task is off"
    if options["maximize_metric"] != metric.endswith("_auc"):
        yield f"maximize_metric: {str(options['maximize_metric']).lower()} would keep the worst epoch by {metric}"
    if f"/experiments/{name}/" in options["checkpoint_path_to_load"]:
        yield "checkpoint_path_to_load: the experiment's own"


def check_files(config: dict) -> None:
    """Raise ConfigError unless the folders and files that the configuration names are there."""
    alignments, inputs = config["alignments"], config["inputs"]
    named = {"alignments.given": alignments["given"]}
    database, pool = search_database(alignments)
    if pool:
        named["alignments.database" if alignments["database"] else "alignments.pool"] = pool
    else:
        files = [f"{database}{ending}" for ending in DATABASE_FILES[alignments["provider"]]]
        named |= {f"alignments.database ({file})": file for file in files}
    for name, sources in config["pretraining"]["exclude"].items():
        named |= {f"pretraining.exclude.{name} ({source})": source for source in sources}
    faults = [f"{key}: {path} does not exist" for key, path in named.items() if path and not Path(path).exists()]
    faults += [f"inputs.mirror: {path} is no folder" for path in mirrors(config) if not Path(path).is_dir()]
    if inputs["offline"] and not mirrors(config):
        faults.append("inputs.mirror: empty, and inputs.offline forbids the archive")
    if faults:
        raise ConfigError("the configuration names what is not there:\n" + "\n".join(f"  - {f}" for f in faults))


def check_targets(config: dict, targets: pd.DataFrame) -> None:
    """Raise ConfigError unless the targets of inputs.read_targets are what the configuration wants of them."""
    classes, table, chosen = set(targets["class"]), config["inputs"]["targets"], config["primary"]["class"]
    if len(targets) < 2 and SWAPPED in config["folding"]["arms"]:
        raise ConfigError(f"folding.arms: {SWAPPED} exchanges the alignments of targets, and {table} has only one")
    if chosen == HARD:
        of_units = targets["unit_classes"].map(lambda text: parse_unit_classes(text).values())
        if not any(is_hard({kind, *units}) for kind, units in zip(targets["class"], of_units, strict=True)):
            raise ConfigError(f"primary.class: hard, but {table} has no target or unit of {', '.join(HARD_CLASSES)}")
    elif chosen not in {ALL, *classes}:
        raise ConfigError(f"primary.class: {chosen} is neither all nor hard nor a class of {table}")
    if strange := {*config["folding"]["leave_one_out"]["classes"]} - classes:
        raise ConfigError(f"folding.leave_one_out.classes: {', '.join(sorted(strange))}: no class of {table}")


def weight_files(config: dict, model: str) -> list[Path]:
    """The model's files in weights.folder, none where the cache or an archive may have them; ConfigError if none may.

    Asked only of runs that need the model: the data set can be made without any.
    """
    folder, cache = config["weights"]["folder"], config["weights"]["cache"]
    files = local_files(model, folder)
    if not files and config["inputs"]["offline"] and not cached_files(model, cache):
        wanted = " and ".join(required_files(model))
        raise ConfigError(f"weights.folder: {folder} has no {model} ({wanted}), and inputs.offline: nothing is fetched")
    return files


def search_database(alignments: dict) -> tuple[str, str]:
    """Prefix of what the provider searches, and the FASTA file that it is built from, empty where it is there.

    `database` names an HH-suite database (hhblits), a FASTA file (jackhmmer), either that or an MMseqs2 database
    (mmseqs2); without it one is built from `pool`.
    """
    provider, database, pool = (alignments[key] for key in ("provider", "database", "pool"))
    if provider == "given":
        return "", ""
    if database and not (provider == "mmseqs2" and not Path(f"{database}.dbtype").exists()):
        return database, ""
    suffix = {"hhblits": "", "mmseqs2": ".mmseqs", "jackhmmer": ".fasta"}[provider]
    return f"results/alignments/database/pool{suffix}", database or pool


def demo_leftovers(config: dict) -> list[str]:
    """The keys that still name the embedded demo's files in a run of other chains."""
    if _is_demo(str(config["inputs"]["chains"])):
        return []
    named = {
        "inputs.targets": config["inputs"]["targets"],
        "inputs.mirror": " ".join(mirrors(config)),
        "alignments.pool": search_database(config["alignments"])[1],
    }
    return [key for key, path in named.items() if _is_demo(path)]


def _is_demo(path: str) -> bool:
    return "resources/demo/" in path


def mirrors(config: dict) -> list[str]:
    """The mirror folders, in the order of search."""
    mirror = config["inputs"]["mirror"]
    return mirror if isinstance(mirror, list) else [mirror] * bool(mirror)


def effective(options: dict) -> dict:
    """Without the options that another option switches off: two runs equal in the rest are the same run."""
    unused = {"val_batch_size", "num_workers", "devices", "nodes", "save_best_k_checkpoints"}  # they decide no result
    unused |= {"positive_weight"} if options["contact_loss_type"] == "focal" else {"focal_gamma", "focal_alpha"}
    if not options["use_contact"]:
        unused |= {"contact_loss_type", "contact_loss_weight", "positive_weight", "focal_gamma", "focal_alpha"}
    if not options["use_scheduler"]:
        unused |= {"t_0", "t_mult", "eta_min"}
    if options["val_mode"] != "sliding_window":
        unused.add("sliding_window_step")
    if not options["use_msa"]:
        unused |= {"esm_msa_name", "num_msa_rows", "num_layers_to_freeze_msa", "lora_rank_msa"}
    if not (options["lora_rank_esm2"] or (options["use_msa"] and options["lora_rank_msa"])):
        unused.add("lora_alpha")
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
    """Names of the pretrained models that the experiments, the baselines and the folding arms start from."""
    folding = config["folding"]
    names = {folding["model"], config["experiments"]["defaults"]["esm2_name"]}
    if TEST_TIME in folding["arms"]:
        names.add(folding["test_time"]["language_model"])
    for options in resolve_experiments(config).values():
        names |= {*encoder_names(options).values()}
    return sorted(names)

# What every stage shares: the checked configuration, the shards, the names of experiments and arms.
import re

from hardfold.arms import finetuning_runs, prediction_runs
from hardfold.config import (
    ConfigError,
    check,
    check_files,
    check_targets,
    demo_leftovers,
    resolve_experiments,
)
from hardfold.contact.keys import baseline_entries, encoder_entries
from hardfold.inputs import read_inputs, read_reference_scores, records
from hardfold.jobs import library_hashes as library, memory, runtime, shards
from hardfold.tables import TableError
from hardfold.weights import loading_mb

try:
    check(config, Path(workflow.current_basedir.path, "../schemas/config.schema.yaml"))
    check_files(config)
    CHAINS, TARGETS = read_inputs(
        config["inputs"]["chains"], config["inputs"]["targets"]
    )
    check_targets(config, TARGETS)
    read_reference_scores(config["inputs"]["reference_scores"])
except (ConfigError, TableError) as fault:
    raise WorkflowError(str(fault)) from None

if leftovers := demo_leftovers(config):
    logger.warning(f"still those of the embedded demo: {', '.join(leftovers)}")

SPLITS = ["train", "validation", "test", "target"]
CHAIN_SHARDS = shards(list(CHAINS["chain"]), config["shard_size"], "chains")
TARGET_SHARDS = shards(list(TARGETS["target"]), config["shard_size"], "targets")
SHARDS = {**CHAIN_SHARDS, **TARGET_SHARDS}
RECORDS = records(CHAINS, TARGETS)
# What jobs that read the list of chains depend on: a table, a file or a folder; no file if the configuration lists them.
CHAIN_LIST = (
    [] if isinstance(config["inputs"]["chains"], list) else config["inputs"]["chains"]
)
EXPERIMENTS = resolve_experiments(config)
# What stands beside the experiments in every table -> what it reads of the embeddings, if anything.
BASELINE_ENTRIES = baseline_entries(config["experiments"]["defaults"]["esm2_name"])
# By key, what frozen encoders give, computed of the chains once for all experiments and baselines that read it.
EMBEDDINGS = encoder_entries(EXPERIMENTS.values(), BASELINE_ENTRIES.values())
ARMS = config["folding"]["arms"]
# (arm, seed) of every folder of predictions; (arm, or arm/fold<k>, seed) of every fine-tuning.
RUNS = prediction_runs(config["folding"])
FINETUNINGS = finetuning_runs(config["folding"])


wildcard_constraints:
    # Not the list of names: a thousand of them in every pattern cost a fifth of the dry run of 100,000 chains.
    shard=r"(chains|targets)\d+/(chains|targets)\d+",
    experiment="|".join(EXPERIMENTS),
    baseline="|".join(BASELINE_ENTRIES),
    predictor="|".join([*EXPERIMENTS, *BASELINE_ENTRIES]),
    embedding="|".join(map(re.escape, EMBEDDINGS)),
    arm="|".join(["baseline", *ARMS]),
    seed=r"\d+",


def loading(base_mb, models):
    """As `memory`: `base_mb` and what loading the models that `models(wildcards)` names takes."""
    places = config["weights"]["folder"], config["weights"]["cache"]
    return lambda wildcards, attempt: memory(
        base_mb + sum(loading_mb(name, *places) for name in models(wildcards))
    )(wildcards, attempt)


def shard_records(wildcards):
    """What the shard's jobs must know of its chains, entries or targets, as plain dictionaries."""
    return [RECORDS[id] for id in SHARDS[wildcards.shard]]

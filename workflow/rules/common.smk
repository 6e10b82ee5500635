# What every stage shares: the checked configuration, the shards, the names of experiments and arms.
import re

from hardfold.config import (
    ConfigError,
    check,
    check_files,
    demo_leftovers,
    resolve_experiments,
)
from hardfold.contact.keys import embedding_entries
from hardfold.inputs import read_inputs, records
from hardfold.jobs import library_hashes as library, memory, runtime, shards
from hardfold.tables import TableError

try:
    check(config, Path(workflow.current_basedir.path, "../schemas/config.schema.yaml"))
    check_files(config)
    CHAINS, TARGETS = read_inputs(
        config["inputs"]["chains"], config["inputs"]["targets"]
    )
    if config["primary"]["class"] not in {"all", *TARGETS["class"]}:
        raise ConfigError(
            f"primary.class: {config['primary']['class']} is neither all nor a class of {config['inputs']['targets']}"
        )
except (ConfigError, TableError) as fault:
    raise WorkflowError(str(fault)) from None

if leftovers := demo_leftovers(config):
    logger.warning(f"still those of the embedded demo: {', '.join(leftovers)}")

SPLITS = ["train", "validation", "test", "target"]
EXPERIMENT_SPLITS = SPLITS[:3]
CHAIN_SHARDS = shards(list(CHAINS["chain"]), config["shard_size"], "chains")
TARGET_SHARDS = shards(list(TARGETS["target"]), config["shard_size"], "targets")
SHARDS = {**CHAIN_SHARDS, **TARGET_SHARDS}
RECORDS = records(CHAINS, TARGETS)
# What jobs that read the list of chains depend on: a table, a file or a folder; no file if the configuration lists them.
CHAIN_LIST = (
    [] if isinstance(config["inputs"]["chains"], list) else config["inputs"]["chains"]
)
EXPERIMENTS = resolve_experiments(config)
# By key, what frozen encoders give, computed of the chains once for all experiments that read it.
EMBEDDINGS = {
    embedding["key"]: embedding
    for options in EXPERIMENTS.values()
    for embedding in embedding_entries(options).values()
    if embedding["encoder"]
}
ARMS = config["folding"]["arms"]
# (arm, seed) of every prediction run; the baseline is seed 0.
RUNS = [("baseline", 0)] + [
    (arm, seed) for arm in ARMS for seed in config["folding"]["seeds"]
]


wildcard_constraints:
    # Not the list of names: a thousand of them in every pattern cost a fifth of the dry run of 100,000 chains.
    shard=r"(chains|targets)\d+",
    experiment="|".join(EXPERIMENTS),
    embedding="|".join(map(re.escape, EMBEDDINGS)),
    arm="|".join(["baseline", *ARMS]),
    seed=r"\d+",


def shard_records(wildcards):
    """What the shard's jobs must know of its chains, entries or targets, as plain dictionaries."""
    return [RECORDS[id] for id in SHARDS[wildcards.shard]]


def experiment_weights(wildcards):
    """The folders of the backbones that an experiment rests on."""
    options = EXPERIMENTS[wildcards.experiment]
    names = [("esm2", options["esm2_name"])]
    if options["use_msa"]:
        names.append(("esm_msa", options["esm_msa_name"]))
    return {key: f"results/weights/{name}" for key, name in names}


def embedding_files(*splits):
    """Input function: what an experiment reads of these splits' embeddings."""
    return lambda wildcards: expand(
        "results/embeddings/{embedding}/{split}.h5",
        embedding=[
            embedding["key"]
            for embedding in embedding_entries(
                EXPERIMENTS[wildcards.experiment]
            ).values()
        ],
        split=splits,
    )


def finetuning_chains(wildcards):
    """What an arm is trained on: the training chains, or the targets themselves to measure memorisation."""
    return (
        f"results/dataset/{'target' if wildcards.arm == 'memorisation' else 'train'}.h5"
    )


def prediction_adapter(wildcards):
    """The adapter of a run; the baseline has none."""
    return (
        []
        if wildcards.arm == "baseline"
        else f"results/folding/{wildcards.arm}/seed{wildcards.seed}/adapter"
    )


def pretraining_inputs(wildcards):
    """What a model of config/pretraining.yaml learns from: the data, and alignments or a trained stem."""
    settings = config["pretraining"]["models"][wildcards.model]
    inputs = {"data": "results/pretraining/data.h5"}
    if settings["kind"] == "alignment":
        inputs["alignments"] = "results/pretraining/alignments.h5"
    if settings["kind"] == "folding":
        inputs["stem"] = f"results/pretraining/runs/{settings['stem']}"
    return inputs

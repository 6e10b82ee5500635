# What every stage shares: the checked configuration, the shards, the names of experiments and arms.
from hardfold.config import ConfigError, check, check_files, resolve_experiments
from hardfold.jobs import library_hashes as library, memory, runtime, shards
from hardfold.tables import TableError, read_chains, read_targets

try:
    check(config, Path(workflow.current_basedir.path, "../schemas/config.schema.yaml"))
    check_files(config)
    CHAINS = read_chains(config["inputs"]["chains"])
    TARGETS = read_targets(config["inputs"]["targets"])
    if both := set(CHAINS["chain"]) & set(TARGETS["target"]):
        raise TableError(f"{', '.join(sorted(both))}: both a chain and a target")
    if config["primary"]["class"] not in {"all", *TARGETS["class"]}:
        raise ConfigError(
            f"primary.class: {config['primary']['class']} is neither all nor a class of {config['inputs']['targets']}"
        )
except (ConfigError, TableError) as fault:
    raise WorkflowError(str(fault)) from None

SPLITS = ["train", "validation", "test", "target"]
CHAIN_SHARDS = shards(list(CHAINS["chain"]), config["shard_size"], "chains")
TARGET_SHARDS = shards(list(TARGETS["target"]), config["shard_size"], "targets")
SHARDS = {**CHAIN_SHARDS, **TARGET_SHARDS}
# Rows by id: searching the tables once a job would take minutes for 100,000 chains.
RECORDS = {
    id: {"id": id, "chain": chain, "auth_range": auth_range}
    for table, key in ((CHAINS, "chain"), (TARGETS, "target"))
    for id, chain, auth_range in zip(
        table[key], table["chain"], table["auth_range"], strict=True
    )
}
EXPERIMENTS = resolve_experiments(config)
ARMS = config["folding"]["arms"]
# (arm, seed) of every prediction run; the baseline is seed 0.
RUNS = [("baseline", 0)] + [
    (arm, seed) for arm in ARMS for seed in config["folding"]["seeds"]
]


wildcard_constraints:
    shard="|".join(SHARDS),
    experiment="|".join(EXPERIMENTS),
    arm="|".join(["baseline", *ARMS]),
    seed=r"\d+",


def shard_records(wildcards):
    """The shard's rows of the chain or target table, as plain dictionaries (id, chain, auth_range)."""
    return [RECORDS[id] for id in SHARDS[wildcards.shard]]


def experiment_weights(wildcards):
    """The folders of the backbones that an experiment rests on."""
    options = EXPERIMENTS[wildcards.experiment]
    names = [("esm2", options["esm2_name"])]
    if options["use_msa"]:
        names.append(("esm_msa", options["esm_msa_name"]))
    return {key: f"results/weights/{name}" for key, name in names}


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

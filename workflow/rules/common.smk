# What every stage shares: the checked configuration, the shards, the names of experiments and arms.
import re

from hardfold.arms import (
    ALIGNMENT,
    READS_ALIGNMENTS,
    SWAPPED,
    TRAINED_ALIGNMENT,
    WITHOUT_ADAPTER,
    finetuning_runs,
    prediction_runs,
)
from hardfold.config import (
    ConfigError,
    check,
    check_files,
    check_targets,
    demo_leftovers,
    resolve_experiments,
)
from hardfold.contact.keys import (
    baseline_entries,
    checkpoint_inputs,
    embedding_entries,
    encoder_entries,
    encoder_names,
)
from hardfold.inputs import read_inputs, read_reference_scores, records
from hardfold.jobs import library_hashes as library, memory, runtime, shards
from hardfold.tables import TableError

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
    shard=r"(chains|targets)\d+",
    experiment="|".join(EXPERIMENTS),
    baseline="|".join(BASELINE_ENTRIES),
    predictor="|".join([*EXPERIMENTS, *BASELINE_ENTRIES]),
    embedding="|".join(map(re.escape, EMBEDDINGS)),
    arm="|".join(["baseline", *ARMS]),
    seed=r"\d+",


def shard_records(wildcards):
    """What the shard's jobs must know of its chains, entries or targets, as plain dictionaries."""
    return [RECORDS[id] for id in SHARDS[wildcards.shard]]


def experiment_weights(wildcards):
    """The folders of the backbones that an experiment rests on."""
    names = encoder_names(EXPERIMENTS[wildcards.experiment])
    return {key: f"results/weights/{name}" for key, name in names.items()}


def embedding_files(*splits):
    """Input function: what an experiment reads of these splits' embeddings."""
    return lambda wildcards: [
        f"results/embeddings/{entry['key']}/{split}.h5"
        for entry in embedding_entries(EXPERIMENTS[wildcards.experiment]).values()
        for split in splits
    ]


def training_threads(wildcards):
    """Of an experiment: for each device one, and its workers that read batches ahead."""
    options = EXPERIMENTS[wildcards.experiment]
    return options["devices"] * (1 + options["num_workers"])


def baseline_inputs(wildcards):
    """What a baseline reads beside the data set: its embeddings, and the weights of the encoder that made them."""
    entry = BASELINE_ENTRIES[wildcards.baseline]
    if not entry:
        return {}
    files = f"results/embeddings/{entry['key']}/{{split}}.h5"
    weights = f"results/weights/{entry['model']}" if entry["encoder"] else []
    return {"embeddings": expand(files, split=SPLITS), "weights": weights}


def finetuning_chains(wildcards):
    """What a fine-tuning learns from: the training chains, the targets themselves, or a data set of the arm's own."""
    return {
        "disjoint": "results/dataset/train.h5",
        ALIGNMENT: "results/dataset/train.h5",
        "memorisation": "results/dataset/target.h5",
    }.get(wildcards.arm, f"results/folding/{wildcards.arm}/train.h5")


def alignment_files(split):
    """Input function: what an arm that reads alignments reads of a split's."""
    return lambda wildcards: [
        f"results/embeddings/{content}/{split}.h5"
        for content in ("profile", "couplings")
        if wildcards.arm in READS_ALIGNMENTS
    ]


def prediction_adapters(wildcards):
    """The adapters of a run: none for the baseline, one a fold for leave_one_out, the model's own."""
    if wildcards.arm == TRAINED_ALIGNMENT:
        return [f"results/weights/{config['folding']['model']}"]
    names = {
        "baseline": [],
        SWAPPED: [ALIGNMENT],
        "leave_one_out": [f"leave_one_out/fold{fold}" for fold in FOLDS],
    }.get(wildcards.arm, [wildcards.arm])
    return [f"results/folding/{name}/seed{wildcards.seed}/adapter" for name in names]

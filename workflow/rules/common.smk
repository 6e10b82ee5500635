# What every stage shares: the checked configuration, the shards, the names of experiments and arms.
from hardfold.config import ConfigError, check, resolve_experiments
from hardfold.jobs import library_hashes as library, memory, runtime, shards
from hardfold.tables import TableError, read_chains, read_targets

try:
    check(config, Path(workflow.current_basedir.path, "../schemas/config.schema.yaml"))
    CHAINS = read_chains(config["inputs"]["chains"])
    TARGETS = read_targets(config["inputs"]["targets"])
    if both := set(CHAINS["chain"]) & set(TARGETS["target"]):
        raise TableError(f"{', '.join(sorted(both))}: both a chain and a target")
except (ConfigError, TableError) as fault:
    raise WorkflowError(str(fault)) from None

SPLITS = ["train", "validation", "test", "target"]
CHAIN_SHARDS = shards(list(CHAINS["chain"]), config["shard_size"], "chains")
TARGET_SHARDS = shards(list(TARGETS["target"]), config["shard_size"], "targets")
SHARDS = {**CHAIN_SHARDS, **TARGET_SHARDS}
EXPERIMENTS = resolve_experiments(config)
ARMS = config["folding"]["arms"]
# (arm, seed) of every prediction run; the baseline is seed 0.
RUNS = [("baseline", 0)] + [(arm, seed) for arm in ARMS for seed in config["folding"]["seeds"]]


wildcard_constraints:
    shard="|".join(SHARDS),
    experiment="|".join(EXPERIMENTS),
    arm="|".join(["baseline", *ARMS]),
    seed=r"\d+",


def shard_records(wildcards):
    """The shard's rows of the chain or target table, as plain dictionaries (id, chain, auth_range)."""
    table, key = (CHAINS, "chain") if wildcards.shard in CHAIN_SHARDS else (TARGETS, "target")
    rows = table[table[key].isin(SHARDS[wildcards.shard])]
    return [{"id": row[key], "chain": row["chain"], "auth_range": row["auth_range"]} for _, row in rows.iterrows()]

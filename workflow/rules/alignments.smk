# A search database built from the pool unless one is configured, and an alignment for each kept chain.
# Needs: results/structures/shards/, HH-suite, MMseqs2. Makes: results/alignments/.
from hardfold.config import search_database
from hardfold.jobs import DATABASE_FILES

PROVIDER = config["alignments"]["provider"]
DATABASE, POOL = search_database(config["alignments"])
# Those of a ready database must be there before any job starts.
DATABASE_PARTS = [f"{DATABASE}{ending}" for ending in DATABASE_FILES[PROVIDER]]


rule build_database:
    input:
        POOL or [],
    output:
        DATABASE_PARTS if POOL else [],
    log:
        "results/logs/build_database.log",
    benchmark:
        "results/benchmarks/build_database.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=runtime(240),
    params:
        provider=PROVIDER,
        library=library("search.build"),
    message:
        "building the search database from {input}"
    script:
        "../scripts/build_database.py"


rule search_alignments:
    input:
        chains="results/structures/shards/{shard}.h5",
        database=DATABASE_PARTS,
        given=config["alignments"]["given"] or [],
    output:
        folder=directory("results/alignments/{shard}"),
        table="results/alignments/shards/{shard}.tsv",
    log:
        "results/logs/search_alignments/{shard}.log",
    benchmark:
        "results/benchmarks/search_alignments/{shard}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    # hhblits and jackhmmer search that many chains at a time, on one core each.
    threads: 4
    resources:
        # Doubled at each attempt: a search that is killed for memory takes the job with it on a cluster.
        mem_mb=memory(8000),
        # hhblits takes minutes a chain.
        runtime=runtime(30, 7, shard_records),
    params:
        options={
            "database": DATABASE,
            **{
                key: config["alignments"][key]
                for key in (
                    "provider",
                    "given",
                    "iterations",
                    "evalue",
                    "min_coverage",
                )
            },
        },
        library=library("search.shard"),
    message:
        "searching homologues of the chains of {wildcards.shard}"
    script:
        "../scripts/search_alignments.py"


rule collect_alignments:
    input:
        expand("results/alignments/shards/{shard}.tsv", shard=SHARDS),
    output:
        "results/alignments/summary.tsv",
    log:
        "results/logs/collect_alignments.log",
    benchmark:
        "results/benchmarks/collect_alignments.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        library=library("tables"),
    message:
        "collecting the alignments' depth"
    script:
        "../scripts/collect_alignments.py"

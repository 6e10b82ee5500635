# A search database built from the pool unless one is configured, and an alignment for each kept chain.
# Needs: results/structures/shards/, HH-suite, MMseqs2. Makes: results/alignments/.
from hardfold.jobs import DATABASE_FILES

DATABASE = config["alignments"]["database"] or "results/alignments/database/pool"


rule build_database:
    input:
        config["alignments"]["pool"] or [],
    output:
        expand("results/alignments/database/pool{file}", file=DATABASE_FILES),
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
        library=library("search.database"),
    message:
        "building the search database from {input}"
    script:
        "../scripts/build_database.py"


rule search_alignments:
    input:
        chains="results/structures/shards/{shard}.h5",
        # A configured database must be there before any job starts; the pool's is built.
        database=expand("{prefix}{file}", prefix=DATABASE, file=DATABASE_FILES),
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
    # hhblits searches that many chains at a time, on one core each.
    threads: 4
    resources:
        mem_mb=memory(8000),
        runtime=runtime(720),
    params:
        options={
            "database": DATABASE,
            **{
                key: config["alignments"][key]
                for key in ("given", "cache", "iterations", "evalue", "min_coverage")
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

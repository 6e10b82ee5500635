# Chains out of the entries, with quality control, and the targets' natives as they are scored.
# Needs: results/structures/raw/. Makes: results/structures/shards/, results/structures/qc.tsv, results/targets/.


rule extract_structures:
    input:
        folder="results/structures/raw/{shard}",
        table="results/structures/raw/{shard}.tsv",
    output:
        chains="results/structures/shards/{shard}.h5",
        qc="results/structures/shards/{shard}.tsv",
    log:
        "results/logs/extract_structures/{shard}.log",
    benchmark:
        "results/benchmarks/extract_structures/{shard}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(10, 0.2, shard_records),
    params:
        records=shard_records,
        limits=config["structures"],
        library=library("structure.quality"),
    message:
        "reading the chains of {wildcards.shard}"
    script:
        "../scripts/extract_structures.py"


rule collect_structures:
    input:
        expand("results/structures/shards/{shard}.tsv", shard=SHARDS),
    output:
        "results/structures/qc.tsv",
    log:
        "results/logs/collect_structures.log",
    benchmark:
        "results/benchmarks/collect_structures.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        library=library("tables"),
    message:
        "collecting the quality control of all chains"
    script:
        "../scripts/collect_structures.py"


rule write_targets:
    input:
        shards=expand("results/structures/shards/{shard}.h5", shard=TARGET_SHARDS),
        targets=config["inputs"]["targets"],
    output:
        directory("results/targets"),
    log:
        "results/logs/write_targets.log",
    benchmark:
        "results/benchmarks/write_targets.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        training_cutoff=config["folding"]["training_cutoff"],
        library=library("structure.targets"),
    message:
        "writing the targets' natives"
    script:
        "../scripts/write_targets.py"

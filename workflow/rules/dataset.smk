# The HDF5 data set: a shard a job, then one file a split that links to the shards.
# Needs: results/structures/shards/, results/alignments/, results/splits/assignment.tsv. Makes: results/dataset/.


rule build_dataset:
    input:
        structures="results/structures/shards/{shard}.h5",
        alignments="results/alignments/{shard}",
    output:
        "results/dataset/shards/{shard}.h5",
    log:
        "results/logs/build_dataset/{shard}.log",
    benchmark:
        "results/benchmarks/build_dataset/{shard}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(10, 0.5, shard_records),
    params:
        options=config["dataset"],
        library=library("dataset"),
    message:
        "building the data set's {wildcards.shard}"
    script:
        "../scripts/build_dataset.py"


rule join_dataset:
    input:
        shards=expand("results/dataset/shards/{shard}.h5", shard=SHARDS),
        assignment="results/splits/assignment.tsv",
    output:
        expand("results/dataset/{split}.h5", split=SPLITS),
    log:
        "results/logs/join_dataset.log",
    benchmark:
        "results/benchmarks/join_dataset.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(30),
    params:
        splits=SPLITS,
        settings={
            **{key: config[key] for key in ("structures", "splits", "dataset")},
            "alignments": {
                key: value
                for key, value in config["alignments"].items()
                if key != "cache"
            },
        },
        library=library("dataset"),
    message:
        "joining the shards into one file a split"
    script:
        "../scripts/join_dataset.py"

# Training, validation and test chains by sequence clusters, and the audit of what is near the held-out ones.
# Needs: results/structures/shards/, MMseqs2. Makes: results/splits/{assignment,audit,dropped}.tsv.


rule build_splits:
    input:
        shards=expand("results/structures/shards/{shard}.h5", shard=SHARDS),
        chains=CHAIN_LIST,
        targets=config["inputs"]["targets"],
    output:
        assignment="results/splits/assignment.tsv",
        audit="results/splits/audit.tsv",
        dropped="results/splits/dropped.tsv",
    log:
        "results/logs/build_splits.log",
    benchmark:
        "results/benchmarks/build_splits.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60, 0.01, lambda wildcards: RECORDS),
    params:
        # Chains that the configuration lists are in no file.
        chains=lambda wildcards, input: input.chains or config["inputs"]["chains"],
        options={
            "seed": config["seed"],
            "fractions": {
                split: config["splits"][split] for split in ("validation", "test")
            },
            **{
                key: config["splits"][key]
                for key in ("identity", "coverage", "cutoff_date")
            },
            "limits": config["splits"]["leakage"],
        },
        library=library("splits"),
    message:
        "assigning chains to training, validation and test, and auditing leakage"
    script:
        "../scripts/build_splits.py"

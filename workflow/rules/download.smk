# The entries of each shard's chains or targets, from the mirror folder or the PDB archive.
# Needs: the chain and target tables, the mirror or the network. Makes: results/structures/raw/.


rule download_structures:
    output:
        folder=directory("results/structures/raw/{shard}"),
        table="results/structures/raw/{shard}.tsv",
    log:
        "results/logs/download_structures/{shard}.log",
    benchmark:
        "results/benchmarks/download_structures/{shard}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        records=shard_records,
        options={key: config["inputs"][key] for key in ("mirror", "archive", "offline")},
        library=library("download"),
    message:
        "downloading the entries of {wildcards.shard}"
    script:
        "../scripts/download_structures.py"

# The structure files of each shard's chains or targets, from a folder, the mirror folders or the PDB archive.
# Needs: the lists of chains and targets, the mirror or the network. Makes: results/structures/raw/.
from hardfold.config import mirrors


rule download_structures:
    output:
        folder=directory("results/structures/raw/{shard}"),
        table="results/structures/raw/{shard}.tsv",
    log:
        "results/logs/download_structures/{shard}.log",
    benchmark:
        "results/benchmarks/download_structures/{shard}.tsv"
    # Where Snakemake runs: the nodes of a cluster need no network.
    localrule: True
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10, 0.5, shard_records),
    params:
        records=shard_records,
        mirror=mirrors(config),
        archive=config["inputs"]["archive"],
        offline=config["inputs"]["offline"],
        library=library("download"),
    message:
        "downloading the structure files of {wildcards.shard}"
    script:
        "../scripts/download_structures.py"

# Pretrained models: needs weights.folder or weights.cache, or a network where a model is in neither; makes results/weights/<model>/.
from hardfold.config import weight_files
from hardfold.weights import in_archive


rule fetch_weights:
    input:
        lambda wildcards: weight_files(config, wildcards.model),
    output:
        directory("results/weights/{model}"),
    log:
        "results/logs/fetch_weights/{model}.log",
    benchmark:
        "results/benchmarks/fetch_weights/{model}.tsv"
    # Where Snakemake runs, as in download_structures.
    localrule: True
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        folder=config["weights"]["folder"],
        archive=lambda wildcards: config["weights"][
            "archive" if in_archive(wildcards.model) else "folding_archive"
        ],
        library=library("fetch"),
    message:
        "Fetching the weights of {wildcards.model}"
    script:
        "../scripts/fetch_weights.py"

# Pretrained models: needs weights.folder, or a network where a model is not in it; makes results/weights/<model>/.
from hardfold.config import weight_files


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
        archive=config["weights"]["archive"],
        offline=config["inputs"]["offline"],
        library=library("weights"),
    message:
        "Fetching the weights of {wildcards.model}"
    script:
        "../scripts/fetch_weights.py"

# How models like the embedded ones are made (target `pretraining`, not part of `all`): needs apt-get, pip and the network
# for the registry packages and the chains of the run as hold-outs; makes results/pretraining/models/<model>/, a folder a
# model of the preset.
from hardfold.pretraining.inputs import (
    excluded_files,
    pretraining_inputs,
    recipe_module,
)

PRESET = config["pretraining"]["presets"][config["pretraining"]["preset"]]


rule pretraining:
    input:
        expand("results/pretraining/models/{model}/SHA256SUMS", model=PRESET["models"]),


rule select_pretraining_data:
    input:
        holdouts=expand("results/structures/shards/{shard}.h5", shard=SHARDS),
        excluded=lambda wildcards: excluded_files(config["pretraining"]["exclude"]),
    output:
        data=directory("results/pretraining/data"),
        audit="results/pretraining/left_out.tsv",
        sets="results/pretraining/held_sets.tsv",
    log:
        "results/logs/select_pretraining_data.log",
    benchmark:
        "results/benchmarks/select_pretraining_data.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 2
    resources:
        mem_mb=memory(12000),
        runtime=runtime(120),
    params:
        packages=config["pretraining"]["packages"],
        exclude=config["pretraining"]["exclude"],
        start=PRESET["start"],
        options=PRESET["data"],
        seed=config["seed"],
        library=library("pretraining.data"),
    message:
        "Selecting what the embedded models may learn from"
    script:
        "../scripts/select_pretraining_data.py"


rule build_pretraining_alignments:
    input:
        "results/pretraining/data",
    output:
        directory("results/pretraining/alignments"),
    log:
        "results/logs/build_pretraining_alignments.log",
    benchmark:
        "results/benchmarks/build_pretraining_alignments.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 2
    resources:
        mem_mb=memory(8000),
        runtime=runtime(60),
    params:
        options=PRESET["alignments"],
        seed=config["seed"],
        library=library("pretraining.data"),
    message:
        "Aligning the chains that the alignment model learns from"
    script:
        "../scripts/build_pretraining_alignments.py"


rule pretrain_model:
    input:
        unpack(lambda wildcards: pretraining_inputs(PRESET["models"][wildcards.model])),
    output:
        directory("results/pretraining/runs/{model}"),
    log:
        "results/logs/pretrain_model/{model}.log",
    benchmark:
        "results/benchmarks/pretrain_model/{model}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads:
        lambda wildcards: PRESET["models"][wildcards.model]["devices"]
        * (1 + PRESET["models"][wildcards.model].get("workers", 0))
    resources:
        mem_mb=lambda wildcards, attempt: (
            PRESET["models"][wildcards.model]["devices"]
            * memory(6000)(wildcards, attempt)
        ),
        runtime=runtime(240),
        gpu=lambda wildcards: PRESET["models"][wildcards.model]["devices"],
    params:
        settings=lambda wildcards: PRESET["models"][wildcards.model],
        state="results/checkpoints/pretraining/{model}",
        seed=config["seed"],
        library=lambda wildcards: library(
            recipe_module(PRESET["models"][wildcards.model]["kind"])
        ),
    message:
        "Training {wildcards.model} from scratch"
    script:
        "../scripts/pretrain_model.py"


rule publish_model:
    input:
        run="results/pretraining/runs/{model}",
        sets="results/pretraining/held_sets.tsv",
    output:
        "results/pretraining/models/{model}/SHA256SUMS",
    log:
        "results/logs/publish_model/{model}.log",
    benchmark:
        "results/benchmarks/publish_model/{model}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        preset=config["pretraining"]["preset"],
        limits={
            key: PRESET["data"][key]
            for key in ("max_evalue", "min_identity", "profile_iterations")
        },
        library=library("pretraining.publish"),
    message:
        "Writing the model card of {wildcards.model}"
    script:
        "../scripts/publish_model.py"

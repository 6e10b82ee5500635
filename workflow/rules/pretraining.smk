# How the embedded models are made (target `pretraining`, not part of `all`): needs apt-get, pip and the network for the
# registry packages and the chains of the run as hold-outs; makes results/pretraining/models/<model>/, a folder a model.
from hardfold.pretraining.inputs import pretraining_inputs


rule pretraining:
    input:
        expand(
            "results/pretraining/models/{model}/SHA256SUMS",
            model=config["pretraining"]["models"],
        ),


rule select_pretraining_data:
    input:
        holdouts=expand("results/structures/shards/{shard}.h5", shard=SHARDS),
    output:
        data="results/pretraining/data.h5",
        audit="results/pretraining/left_out.tsv",
    log:
        "results/logs/select_pretraining_data.log",
    benchmark:
        "results/benchmarks/select_pretraining_data.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 2
    resources:
        mem_mb=memory(8000),
        runtime=runtime(60),
    params:
        packages=config["pretraining"]["packages"],
        options=config["pretraining"]["data"],
        seed=config["seed"],
        library=library("pretraining.data"),
    message:
        "Selecting what the embedded models may learn from"
    script:
        "../scripts/select_pretraining_data.py"


rule build_pretraining_alignments:
    input:
        "results/pretraining/data.h5",
    output:
        "results/pretraining/alignments.h5",
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
        options=config["pretraining"]["alignments"],
        seed=config["seed"],
        library=library("pretraining.data"),
    message:
        "Aligning the chains that the alignment model learns from"
    script:
        "../scripts/build_pretraining_alignments.py"


rule pretrain_model:
    input:
        unpack(
            lambda wildcards: pretraining_inputs(
                config["pretraining"]["models"][wildcards.model]
            )
        ),
    output:
        directory("results/pretraining/runs/{model}"),
    log:
        "results/logs/pretrain_model/{model}.log",
    benchmark:
        "results/benchmarks/pretrain_model/{model}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(6000),
        runtime=runtime(240),
        gpu=1,
    params:
        settings=lambda wildcards: config["pretraining"]["models"][wildcards.model],
        seed=config["seed"],
        library=library("pretraining.train"),
    message:
        "Training {wildcards.model} from scratch"
    script:
        "../scripts/pretrain_model.py"


rule publish_model:
    input:
        run="results/pretraining/runs/{model}",
        audit="results/pretraining/left_out.tsv",
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
        limits={
            key: config["pretraining"]["data"][key]
            for key in ("max_evalue", "min_identity")
        },
        library=library("pretraining.publish"),
    message:
        "Writing the model card of {wildcards.model}"
    script:
        "../scripts/publish_model.py"

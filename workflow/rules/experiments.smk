# The contact track: needs the data set and the backbones' weights; makes results/embeddings/,
# results/experiments/<name>/ and summary.tsv.


rule embed_chains:
    input:
        weights=lambda wildcards: f"results/weights/{EMBEDDINGS[wildcards.embedding]['model']}",
        chains=expand("results/dataset/{split}.h5", split=EXPERIMENT_SPLITS),
    output:
        expand("results/embeddings/{{embedding}}/{split}.h5", split=EXPERIMENT_SPLITS),
    log:
        "results/logs/embed_chains/{embedding}.log",
    benchmark:
        "results/benchmarks/embed_chains/{embedding}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(120),
        gpu=1,
    params:
        embedding=lambda wildcards: EMBEDDINGS[wildcards.embedding],
        library=library("contact.embed"),
    message:
        "embedding the chains: {wildcards.embedding}"
    script:
        "../scripts/embed_chains.py"


rule couple_chains:
    input:
        expand("results/dataset/{split}.h5", split=EXPERIMENT_SPLITS),
    output:
        expand("results/embeddings/couplings/{split}.h5", split=EXPERIMENT_SPLITS),
    log:
        "results/logs/couple_chains.log",
    benchmark:
        "results/benchmarks/couple_chains.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(240),
    params:
        library=library("contact.couple"),
    message:
        "coupling the columns of the chains' alignments"
    script:
        "../scripts/couple_chains.py"


def devices(wildcards):
    """On how many an experiment is trained."""
    return EXPERIMENTS[wildcards.experiment]["devices"]


def training_threads(wildcards):
    """For each device one, and its workers that read batches ahead."""
    return devices(wildcards) * (1 + EXPERIMENTS[wildcards.experiment]["num_workers"])


rule train_experiment:
    input:
        unpack(experiment_weights),
        embeddings=embedding_files("train", "validation"),
        checkpoint=lambda wildcards: (
            EXPERIMENTS[wildcards.experiment]["checkpoint_path_to_load"] or []
        ),
        train="results/dataset/train.h5",
        validation="results/dataset/validation.h5",
    output:
        model="results/experiments/{experiment}/model.safetensors",
        config="results/experiments/{experiment}/config.json",
        history="results/experiments/{experiment}/history.csv",
        training="results/experiments/{experiment}/training.json",
    log:
        "results/logs/train_experiment/{experiment}.log",
    benchmark:
        "results/benchmarks/train_experiment/{experiment}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: training_threads
    resources:
        mem_mb=lambda wildcards, attempt: (
            devices(wildcards) * memory(4000)(wildcards, attempt)
        ),
        runtime=runtime(240),
        gpu=devices,
    params:
        embeddings="results/embeddings",
        options=lambda wildcards: EXPERIMENTS[wildcards.experiment],
        seed=config["seed"],
        state="results/checkpoints/experiments/{experiment}",
        tracked=config["tracking"] if config["tracking"]["enabled"] else None,
        library=library("contact.train"),
    message:
        "Training {wildcards.experiment}"
    script:
        "../scripts/train_experiment.py"


rule evaluate_experiment:
    input:
        unpack(experiment_weights),
        embeddings=embedding_files("validation", "test"),
        model=rules.train_experiment.output.model,
        config=rules.train_experiment.output.config,
        validation="results/dataset/validation.h5",
        test="results/dataset/test.h5",
    output:
        metrics="results/experiments/{experiment}/metrics.json",
        predictions="results/experiments/{experiment}/predictions.h5",
    log:
        "results/logs/evaluate_experiment/{experiment}.log",
    benchmark:
        "results/benchmarks/evaluate_experiment/{experiment}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60),
        gpu=1,
    params:
        embeddings="results/embeddings",
        resamples=config["scoring"]["bootstrap"],
        library=library("contact.evaluate"),
    message:
        "Evaluating {wildcards.experiment} on the test chains"
    script:
        "../scripts/evaluate_experiment.py"


rule collect_experiments:
    input:
        expand("results/experiments/{experiment}/metrics.json", experiment=EXPERIMENTS),
    output:
        "results/experiments/summary.tsv",
    log:
        "results/logs/collect_experiments.log",
    benchmark:
        "results/benchmarks/collect_experiments.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        library=library("contact.evaluate"),
    message:
        "Collecting the experiments' metrics"
    script:
        "../scripts/collect_experiments.py"

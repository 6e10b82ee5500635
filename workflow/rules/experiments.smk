# The contact track: needs the data set, the splits' tables and the backbones' weights; makes results/embeddings/, and in
# results/experiments/ a folder an experiment and a baseline, summary.tsv, targets.tsv, comparisons.tsv and bands.tsv.
from hardfold.contact.keys import checkpoint_inputs, encoder_names
from hardfold.job_inputs import (
    baseline_inputs,
    embedding_files,
    experiment_weights,
    training_resource,
    training_threads,
)

experiment_models = lambda wildcards: encoder_names(
    EXPERIMENTS[wildcards.experiment]
).values()


rule embed_chains:
    input:
        weights=lambda wildcards: f"results/weights/{EMBEDDINGS[wildcards.embedding]['model']}",
        chains=expand("results/dataset/{split}.h5", split=SPLITS),
    output:
        expand("results/embeddings/{{embedding}}/{split}.h5", split=SPLITS),
    log:
        "results/logs/embed_chains/{embedding}.log",
    benchmark:
        "results/benchmarks/embed_chains/{embedding}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=loading(
            4000, lambda wildcards: [EMBEDDINGS[wildcards.embedding]["model"]]
        ),
        runtime=runtime(120),
        gpu=1,
    params:
        embedding=lambda wildcards: EMBEDDINGS[wildcards.embedding],
        splits=SPLITS,
        library=library("contact.embed"),
    message:
        "embedding the chains: {wildcards.embedding}"
    script:
        "../scripts/embed_chains.py"


rule describe_columns:
    input:
        expand("results/dataset/{split}.h5", split=SPLITS),
    output:
        expand("results/embeddings/{{content}}/{split}.h5", split=SPLITS),
    log:
        "results/logs/describe_columns/{content}.log",
    benchmark:
        "results/benchmarks/describe_columns/{content}.tsv"
    wildcard_constraints:
        content="couplings|profile",
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(240),
    params:
        library=library("contact.columns"),
    message:
        "describing the columns of the chains' alignments: {wildcards.content}"
    script:
        "../scripts/describe_columns.py"


rule train_experiment:
    input:
        unpack(lambda wildcards: experiment_weights(EXPERIMENTS[wildcards.experiment])),
        unpack(lambda wildcards: checkpoint_inputs(EXPERIMENTS[wildcards.experiment])),
        embeddings=lambda wildcards: embedding_files(
            EXPERIMENTS[wildcards.experiment], "train", "validation"
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
    threads: lambda wildcards: training_threads(EXPERIMENTS[wildcards.experiment])
    resources:
        mem_mb=lambda wildcards, attempt: (
            EXPERIMENTS[wildcards.experiment]["devices"]
            // EXPERIMENTS[wildcards.experiment]["nodes"]
            * loading(4000, experiment_models)(wildcards, attempt)
        ),
        runtime=runtime(240),
        gpu=training_resource(EXPERIMENTS, "gpu"),
        nodes=training_resource(EXPERIMENTS, "nodes"),
        tasks=training_resource(EXPERIMENTS, "tasks"),
        mpi=training_resource(EXPERIMENTS, "mpi"),
        gres=training_resource(EXPERIMENTS, "gres"),
        tasks_per_gpu=training_resource(EXPERIMENTS, "tasks_per_gpu"),
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


rule predict_experiment:
    input:
        unpack(lambda wildcards: experiment_weights(EXPERIMENTS[wildcards.experiment])),
        embeddings=lambda wildcards: embedding_files(
            EXPERIMENTS[wildcards.experiment], "validation", "test", "target"
        ),
        model=rules.train_experiment.output.model,
        config=rules.train_experiment.output.config,
        validation="results/dataset/validation.h5",
        test="results/dataset/test.h5",
        target="results/dataset/target.h5",
    output:
        "results/experiments/{experiment}/predictions.h5",
    log:
        "results/logs/predict_experiment/{experiment}.log",
    benchmark:
        "results/benchmarks/predict_experiment/{experiment}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=loading(4000, experiment_models),
        runtime=runtime(60),
        gpu=1,
    params:
        embeddings="results/embeddings",
        library=library("contact.predict"),
    message:
        "Predicting the held-out chains with {wildcards.experiment}"
    script:
        "../scripts/predict_experiment.py"


rule predict_baseline:
    input:
        unpack(
            lambda wildcards: baseline_inputs(
                BASELINE_ENTRIES[wildcards.baseline], SPLITS
            )
        ),
        train="results/dataset/train.h5",
        validation="results/dataset/validation.h5",
        test="results/dataset/test.h5",
        target="results/dataset/target.h5",
    output:
        "results/experiments/{baseline}/predictions.h5",
    log:
        "results/logs/predict_baseline/{baseline}.log",
    benchmark:
        "results/benchmarks/predict_baseline/{baseline}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60),
    params:
        embeddings="results/embeddings",
        entry=lambda wildcards: BASELINE_ENTRIES[wildcards.baseline],
        max_distance=config["experiments"]["defaults"]["max_distance"],
        seed=config["seed"],
        library=library("contact.baselines"),
    message:
        "Predicting the held-out chains by {wildcards.baseline}"
    script:
        "../scripts/predict_baseline.py"


rule score_contacts:
    input:
        predictions="results/experiments/{predictor}/predictions.h5",
        validation="results/dataset/validation.h5",
        test="results/dataset/test.h5",
        target="results/dataset/target.h5",
        assignment="results/splits/assignment.tsv",
    output:
        "results/experiments/{predictor}/metrics.json",
    log:
        "results/logs/score_contacts/{predictor}.log",
    benchmark:
        "results/benchmarks/score_contacts/{predictor}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(60),
    params:
        resamples=config["scoring"]["bootstrap"],
        seed=config["seed"],
        library=library("contact.score"),
    message:
        "Scoring the contacts of {wildcards.predictor}"
    script:
        "../scripts/score_contacts.py"


rule collect_experiments:
    input:
        metrics=expand(
            "results/experiments/{predictor}/metrics.json",
            predictor=[*EXPERIMENTS, *BASELINE_ENTRIES],
        ),
        configs=expand(rules.train_experiment.output.config, experiment=EXPERIMENTS),
        trainings=expand(rules.train_experiment.output.training, experiment=EXPERIMENTS),
        assignment="results/splits/assignment.tsv",
        alignments="results/alignments/summary.tsv",
        audit="results/splits/audit.tsv",
    output:
        summary="results/experiments/summary.tsv",
        targets="results/experiments/targets.tsv",
        comparisons="results/experiments/comparisons.tsv",
        bands="results/experiments/bands.tsv",
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
        resamples=config["scoring"]["bootstrap"],
        seed=config["seed"],
        library=library("contact.collect"),
    message:
        "Collecting and comparing the experiments and the baselines"
    script:
        "../scripts/collect_experiments.py"

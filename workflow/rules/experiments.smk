# The contact track: needs the data set and the backbones' weights; makes results/experiments/<name>/ and summary.tsv.


rule train_experiment:
    input:
        unpack(experiment_weights),
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
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(240),
        gpu=1,
    params:
        options=lambda wildcards: EXPERIMENTS[wildcards.experiment],
        seed=config["seed"],
        library=library("contact.train"),
    message:
        "Training {wildcards.experiment}"
    script:
        "../scripts/train_experiment.py"


rule evaluate_experiment:
    input:
        unpack(experiment_weights),
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

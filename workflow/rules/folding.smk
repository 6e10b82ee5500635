# The folding track: needs the data set and a folding model's weights; makes results/folding/<arm>/seed<n>/ (adapter,
# history, predictions). hardfold/arms.py says what each arm is; memorisation is trained on the targets themselves and
# says so wherever it appears.
from hardfold.arms import SWAPPED, WITHOUT_ADAPTER
from hardfold.job_inputs import alignment_files, finetuning_chains, prediction_adapters

LEAVE_ONE_OUT = config["folding"]["leave_one_out"]
FOLDS = range(1, LEAVE_ONE_OUT["folds"] + 1)
STEM = config["folding"]["test_time"]["language_model"]


rule build_folds:
    input:
        shards=expand("results/structures/shards/{shard}.h5", shard=SHARDS),
        chains=CHAIN_LIST,
        targets=config["inputs"]["targets"],
        assignment="results/splits/assignment.tsv",
        dataset="results/dataset/target.h5",
    output:
        table="results/folding/leave_one_out/folds.tsv",
        folds=expand("results/folding/leave_one_out/fold{fold}/train.h5", fold=FOLDS),
    log:
        "results/logs/build_folds.log",
    benchmark:
        "results/benchmarks/build_folds.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60, 0.01, lambda wildcards: RECORDS),
    params:
        chains=lambda wildcards, input: input.chains or config["inputs"]["chains"],
        options={
            "classes": LEAVE_ONE_OUT["classes"],
            "limits": config["splits"]["leakage"],
            "seed": config["seed"],
        },
        library=library("folding.folds"),
    message:
        "parting the targets into {LEAVE_ONE_OUT[folds]} folds, relatives together"
    script:
        "../scripts/build_folds.py"


rule shuffle_labels:
    input:
        dataset="results/dataset/train.h5",
        assignment="results/splits/assignment.tsv",
    output:
        "results/folding/control_shuffled_labels/train.h5",
    log:
        "results/logs/shuffle_labels.log",
    benchmark:
        "results/benchmarks/shuffle_labels.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60),
    params:
        seed=config["seed"],
        library=library("folding.shuffled"),
    message:
        "exchanging the training chains' structures: a control"
    script:
        "../scripts/shuffle_labels.py"


rule swap_alignments:
    input:
        shards=expand("results/structures/shards/{shard}.h5", shard=SHARDS),
        chains=CHAIN_LIST,
        targets=config["inputs"]["targets"],
        assignment="results/splits/assignment.tsv",
    output:
        f"results/folding/{SWAPPED}/donors.tsv",
    log:
        "results/logs/swap_alignments.log",
    benchmark:
        "results/benchmarks/swap_alignments.tsv"
    # Where there are too few unrelated targets it fails: before the long jobs, not after them.
    priority: 1
    conda:
        "../../envs/hardfold.yaml"
    threads: 8
    resources:
        mem_mb=memory(4000),
        runtime=runtime(60, 0.01, lambda wildcards: RECORDS),
    params:
        chains=lambda wildcards, input: input.chains or config["inputs"]["chains"],
        options={
            "limits": config["splits"]["leakage"],
            "seeds": config["folding"]["seeds"],
        },
        library=library("folding.swapped"),
    message:
        "choosing for each target whose alignment it is given: a control"
    script:
        "../scripts/swap_alignments.py"


rule finetune_folding:
    input:
        weights=f"results/weights/{config['folding']['model']}",
        train=lambda wildcards: finetuning_chains(wildcards.arm),
        train_alignments=lambda wildcards: alignment_files(wildcards.arm, "train"),
        validation="results/dataset/validation.h5",
        validation_alignments=lambda wildcards: alignment_files(
            wildcards.arm, "validation"
        ),
    output:
        adapter=directory("results/folding/{arm}/seed{seed}/adapter"),
        history="results/folding/{arm}/seed{seed}/history.csv",
        training="results/folding/{arm}/seed{seed}/training.json",
    log:
        "results/logs/finetune_folding/{arm}_{seed}.log",
    benchmark:
        "results/benchmarks/finetune_folding/{arm}_{seed}.tsv"
    wildcard_constraints:
        arm="|".join(dict.fromkeys(name for name, _ in FINETUNINGS)),
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=loading(4000, lambda wildcards: [config["folding"]["model"]]),
        runtime=runtime(240),
        gpu=1,
    params:
        options={
            key: config["folding"][key]
            for key in (
                "adapter",
                "training",
                "losses",
                "recycles",
                "chunk_size",
                "half_stem",
            )
        },
        state="results/checkpoints/folding/{arm}/seed{seed}",
        library=library("folding.finetune"),
    message:
        "Fine-tuning the folding model: arm {wildcards.arm}, seed {wildcards.seed}"
    script:
        "../scripts/finetune_folding.py"


rule predict_folding:
    input:
        weights=f"results/weights/{config['folding']['model']}",
        adapters=lambda wildcards: prediction_adapters(
            wildcards.arm, wildcards.seed, FOLDS, config["folding"]["model"]
        ),
        folds=lambda wildcards: (
            rules.build_folds.output.table if wildcards.arm == "leave_one_out" else []
        ),
        targets="results/dataset/target.h5",
        alignments=lambda wildcards: alignment_files(wildcards.arm, "target"),
        donors=lambda wildcards: (
            rules.swap_alignments.output[0] if wildcards.arm == SWAPPED else []
        ),
    output:
        "results/folding/{arm}/seed{seed}/predictions.tsv",
    log:
        "results/logs/predict_folding/{arm}_{seed}.log",
    benchmark:
        "results/benchmarks/predict_folding/{arm}_{seed}.tsv"
    wildcard_constraints:
        arm="|".join(["baseline", *sorted({*ARMS} - WITHOUT_ADAPTER)]),
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=loading(4000, lambda wildcards: [config["folding"]["model"]]),
        runtime=runtime(120),
        gpu=1,
    params:
        options={
            key: config["folding"][key]
            for key in ("recycles", "chunk_size", "half_stem")
        },
        library=library("folding.predict"),
    message:
        "Folding the targets: arm {wildcards.arm}, seed {wildcards.seed}"
    script:
        "../scripts/predict_folding.py"


rule predict_test_time:
    input:
        weights=f"results/weights/{config['folding']['model']}",
        language_model=f"results/weights/{STEM}",
        targets="results/dataset/target.h5",
    output:
        predictions="results/folding/test_time/seed{seed}/predictions.tsv",
        steps="results/folding/test_time/seed{seed}/steps.tsv",
        record="results/folding/test_time/seed{seed}/adaptation.json",
    log:
        "results/logs/predict_test_time/{seed}.log",
    benchmark:
        "results/benchmarks/predict_test_time/{seed}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=loading(
            4000,
            lambda wildcards: [
                config["folding"]["model"],
                config["folding"]["test_time"]["language_model"],
            ],
        ),
        runtime=runtime(240),
        gpu=1,
    params:
        settings={
            key: value
            for key, value in config["folding"]["test_time"].items()
            if key != "language_model"
        },
        recycles=config["folding"]["recycles"],
        chunk_size=config["folding"]["chunk_size"],
        state="results/checkpoints/folding/test_time/seed{seed}",
        library=library("folding.test_time"),
    message:
        "Adapting the language model to each target's own sequence, seed {wildcards.seed}"
    script:
        "../scripts/predict_test_time.py"


rule choose_with_native:
    input:
        steps=rules.predict_test_time.output.steps,
        natives="results/targets",
    output:
        predictions="results/folding/test_time_oracle/seed{seed}/predictions.tsv",
        curve="results/folding/test_time_oracle/seed{seed}/steps.tsv",
    log:
        "results/logs/choose_with_native/{seed}.log",
    benchmark:
        "results/benchmarks/choose_with_native/{seed}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        library=library("folding.oracle"),
    message:
        "choosing each target's best step with its native: the oracle of test_time, seed {wildcards.seed}"
    script:
        "../scripts/choose_with_native.py"


rule copy_nearest:
    input:
        targets="results/dataset/target.h5",
        train="results/dataset/train.h5",
        audit="results/splits/audit.tsv",
    output:
        "results/folding/nearest_training/seed0/predictions.tsv",
    log:
        "results/logs/copy_nearest.log",
    benchmark:
        "results/benchmarks/copy_nearest.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        library=library("folding.nearest"),
    message:
        "copying the nearest training chains' structures onto the targets: a yardstick"
    script:
        "../scripts/copy_nearest.py"

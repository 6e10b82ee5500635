# The folding track: needs the data set and a folding model's weights; makes results/folding/<arm>/seed<n>/ (adapter,
# history, predictions). Arm memorisation is trained on the targets themselves and says so wherever it appears.


rule finetune_folding:
    input:
        weights=f"results/weights/{config['folding']['model']}",
        train=finetuning_chains,
        validation="results/dataset/validation.h5",
    output:
        adapter=directory("results/folding/{arm}/seed{seed}/adapter"),
        history="results/folding/{arm}/seed{seed}/history.csv",
        training="results/folding/{arm}/seed{seed}/training.json",
    log:
        "results/logs/finetune_folding/{arm}_{seed}.log",
    benchmark:
        "results/benchmarks/finetune_folding/{arm}_{seed}.tsv"
    wildcard_constraints:
        arm="|".join(ARMS),
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
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
        adapter=prediction_adapter,
        targets="results/dataset/target.h5",
    output:
        "results/folding/{arm}/seed{seed}/predictions.tsv",
    log:
        "results/logs/predict_folding/{arm}_{seed}.log",
    benchmark:
        "results/benchmarks/predict_folding/{arm}_{seed}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
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

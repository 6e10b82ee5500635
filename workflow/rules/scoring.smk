# Scores of the predictions by chain, unit and residue, the random-walk floor, and the comparison of arms.
# Needs: results/folding/*/predictions.tsv, results/targets/, alignments' summary, leakage audit. Makes: scores.tsv a run,
# results/folding/scores.tsv and results/folding/comparison.json.


rule score_predictions:
    input:
        predictions="results/folding/{arm}/seed{seed}/predictions.tsv",
        natives="results/targets",
        alignments="results/alignments/summary.tsv",
        audit="results/splits/audit.tsv",
    output:
        "results/folding/{arm}/seed{seed}/scores.tsv",
    log:
        "results/logs/score_predictions/{arm}_{seed}.log",
    benchmark:
        "results/benchmarks/score_predictions/{arm}_{seed}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        library=library("scoring"),
    message:
        "Scoring the predictions: arm {wildcards.arm}, seed {wildcards.seed}"
    script:
        "../scripts/score_predictions.py"


rule score_residues:
    input:
        predictions="results/folding/{arm}/seed{seed}/predictions.tsv",
        natives="results/targets",
    output:
        "results/folding/{arm}/seed{seed}/residues.tsv",
    log:
        "results/logs/score_residues/{arm}_{seed}.log",
    benchmark:
        "results/benchmarks/score_residues/{arm}_{seed}.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        library=library("residues"),
    message:
        "Scoring the predictions residue by residue: arm {wildcards.arm}, seed {wildcards.seed}"
    script:
        "../scripts/score_residues.py"


rule score_controls:
    input:
        natives="results/targets",
        alignments="results/alignments/summary.tsv",
        audit="results/splits/audit.tsv",
    output:
        "results/folding/random_walk/seed0/scores.tsv",
    log:
        "results/logs/score_controls.log",
    benchmark:
        "results/benchmarks/score_controls.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(60),
    params:
        walks=config["scoring"]["random_walks"],
        seed=config["seed"],
        library=library("scoring"),
    message:
        "Scoring random compact walks: the floor of every score"
    script:
        "../scripts/score_controls.py"


rule collect_scores:
    input:
        [f"results/folding/{arm}/seed{seed}/scores.tsv" for arm, seed in RUNS],
        rules.score_controls.output,
    output:
        "results/folding/scores.tsv",
    log:
        "results/logs/collect_scores.log",
    benchmark:
        "results/benchmarks/collect_scores.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        library=library("tables"),
    message:
        "Collecting the scores of all arms"
    script:
        "../scripts/collect_scores.py"


rule compare_arms:
    input:
        scores=rules.collect_scores.output[0],
        audit="results/splits/audit.tsv",
    output:
        "results/folding/comparison.json",
    log:
        "results/logs/compare_arms.log",
    benchmark:
        "results/benchmarks/compare_arms.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        primary=config["primary"],
        bootstrap=config["scoring"]["bootstrap"],
        seed=config["seed"],
        library=library("comparison"),
    message:
        "Comparing the arms with the baseline"
    script:
        "../scripts/compare_arms.py"

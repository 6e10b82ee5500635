# Provenance, figures and the report: needs every other stage's results; makes results/report/ and results/provenance.json.
from hardfold.config import pretrained_models
from hardfold.report.captions import CAPTIONS

PROVENANCE = "results/provenance.json"
REFERENCE = config["inputs"]["reference_scores"]
REPORTED = [
    "results/structures/qc.tsv",
    "results/alignments/summary.tsv",
    "results/splits/assignment.tsv",
    "results/splits/audit.tsv",
    "results/dataset/test.h5",
    *expand(
        "results/experiments/{table}.tsv",
        table=["summary", "targets", "comparisons", "bands"],
    ),
    "results/folding/scores.tsv",
    "results/folding/comparison.json",
    *expand(
        "results/experiments/{experiment}/{file}",
        experiment=EXPERIMENTS,
        file=["training.json", "history.csv", "metrics.json", "predictions.h5"],
    ),
    *expand("results/experiments/{baseline}/metrics.json", baseline=BASELINE_ENTRIES),
    *[
        f"results/folding/{arm}/seed{seed}/{file}"
        for arm, seed in FINETUNINGS
        for file in ("training.json", "history.csv")
    ],
    *[f"results/folding/{arm}/seed{seed}/residues.tsv" for arm, seed in RUNS],
    *[
        f"results/folding/{arm}/seed{seed}/{file}"
        for arm, seed in RUNS
        for file in {
            "test_time": ["steps.tsv", "adaptation.json"],
            "test_time_oracle": ["steps.tsv"],
        }.get(arm, [])
    ],
    "results/targets",
    *expand("results/weights/{model}", model=pretrained_models(config)),
]


rule write_provenance:
    input:
        # The date and the versions are those of the end of the run.
        "results/experiments/summary.tsv",
        "results/folding/comparison.json",
        requirements=workflow.source_path("../../envs/requirements.lock"),
        hashed=[
            path
            for path in (
                CHAIN_LIST,
                config["inputs"]["targets"],
                REFERENCE,
                # The database by its index, which is small, where it has one.
                POOL
                or next(
                    (part for part in DATABASE_PARTS if part.endswith("index")),
                    DATABASE,
                ),
                *expand("results/structures/raw/{shard}.tsv", shard=SHARDS),
            )
            # A folder's files have their hashes in the tables of raw/.
            if path and not Path(path).is_dir()
        ],
    output:
        PROVENANCE,
    log:
        "results/logs/write_provenance.log",
    benchmark:
        "results/benchmarks/write_provenance.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        config=config,
        library=library("provenance"),
    message:
        "recording what the run was made with"
    script:
        "../scripts/write_provenance.py"


rule plot_report:
    input:
        REPORTED,
        provenance=PROVENANCE,
    output:
        report(
            directory("results/report/figures"),
            patterns=["{topic}_{figure}.png"],
            caption="../report/figure.rst",
            category="{topic}",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/logs/plot_report.log",
    benchmark:
        "results/benchmarks/plot_report.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=runtime(10),
    params:
        captions=CAPTIONS,
        library=library("report.figures"),
    message:
        "drawing the report's figures"
    script:
        "../scripts/plot_report.py"


rule write_report:
    input:
        REPORTED,
        REFERENCE or [],
        provenance=PROVENANCE,
        figures="results/report/figures",
        templates=[
            workflow.source_path(f"../scripts/hardfold/report/templates/{name}")
            for name in ("report.md.j2", "page.html.j2")
        ],
    output:
        markdown="results/report/report.md",
        html=report(
            "results/report/report.html",
            caption="../report/report.rst",
            category="report",
            labels={"figure": "the whole report"},
        ),
    log:
        "results/logs/write_report.log",
    benchmark:
        "results/benchmarks/write_report.tsv"
    conda:
        "../../envs/hardfold.yaml"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=runtime(10),
    params:
        reference=REFERENCE,
        library=library("report.render"),
    message:
        "writing the report"
    script:
        "../scripts/write_report.py"

# hardfold: from PDB entries to a report on contact and folding predictors. `snakemake --cores all` makes all of it.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"
configfile: "config/pretraining.yaml"


report: "workflow/report/workflow.rst"


sys.path.insert(0, str(Path(workflow.current_basedir.path, "workflow/scripts")))


from hardfold.job_inputs import devices_fault, nodes_fault
from hardfold.jobs import gpu_slots, gpus, quality_note
from hardfold.takeover import SLURM, RunError, take_over


# Local runs have a GPU a job unless --resources gpu=N says otherwise; clusters count per job.
resource_scopes:
    gpu="local",


workflow.global_resources.setdefault("gpu", gpu_slots())


include: "workflow/rules/common.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/structures.smk"
include: "workflow/rules/alignments.smk"
include: "workflow/rules/splits.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/experiments.smk"
include: "workflow/rules/folding.smk"
include: "workflow/rules/scoring.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/pretraining.smk"


onstart:
    jobs = list(workflow.dag.needrun_jobs())
    trainings = [
        (EXPERIMENTS[job.wildcards.experiment], job.resources)
        for job in jobs
        if job.rule.name == "train_experiment"
    ]
    on_slurm = (
        workflow.executor_plugin.name == SLURM or "SLURM_JOB_ID" in os.environ
    )
    if fault := nodes_fault(trainings, on_slurm):
        raise WorkflowError(fault)
    devices = [options["devices"] // options["nodes"] for options, _ in trainings]
    devices += [
        PRESET["models"][job.wildcards.model]["devices"]
        for job in jobs
        if job.rule.name == "pretrain_model"
    ]
    if workflow.local_exec and (fault := devices_fault(devices, gpus())):
        raise WorkflowError(fault)
    try:
        # In the place of Snakemake's own lock (nolock in profiles/default), which would outlive a killed run.
        workflow.run_lock = take_over(
            Path.cwd(), workflow.executor_plugin.name, logger.warning
        )
    except RunError as fault:
        raise WorkflowError(str(fault)) from None
    if workflow.executor_plugin.name == SLURM:
        from hardfold.slurm import remember_min_job_age

        remember_min_job_age()


onsuccess:
    print(quality_note("results/structures/qc.tsv"), file=sys.stderr)


rule all:
    default_target: True
    input:
        "results/report/report.html",
        "results/report/report.md",


rule dataset:
    input:
        expand("results/dataset/{split}.h5", split=SPLITS),
        "results/structures/qc.tsv",
        "results/alignments/summary.tsv",
        "results/splits/audit.tsv",


rule experiments:
    input:
        rules.collect_experiments.output,


rule folding:
    input:
        "results/folding/comparison.json",


rule report:
    input:
        rules.all.input,

from pathlib import Path

from hardfold.contact.evaluate import evaluate_experiment
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
evaluate_experiment(
    folder=Path(snakemake.input.model).parent,
    esm2=snakemake.input.esm2,
    esm_msa=snakemake.input.get("esm_msa"),
    embeddings=snakemake.params.embeddings,
    validation=snakemake.input.validation,
    test=snakemake.input.test,
    metrics=snakemake.output.metrics,
    predictions=snakemake.output.predictions,
    resamples=snakemake.params.resamples,
    threads=snakemake.threads,
)

from pathlib import Path

from hardfold.contact.train import train_experiment
from hardfold.jobs import start_log

start_log(snakemake.log[0])
train_experiment(
    experiment=snakemake.wildcards.experiment,
    options=snakemake.params.options,
    seed=snakemake.params.seed,
    threads=snakemake.threads,
    train=snakemake.input.train,
    validation=snakemake.input.validation,
    esm2=snakemake.input.esm2,
    esm_msa=snakemake.input.get("esm_msa"),
    output=Path(snakemake.output.model).parent,
)

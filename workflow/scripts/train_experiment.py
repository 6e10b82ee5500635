from pathlib import Path

from hardfold.contact.train import train_experiment
from hardfold.jobs import claim_gpus, start_log
from hardfold.nodes import launch

start_log(snakemake.log[0])
devices, nodes = (snakemake.params.options[name] for name in ("devices", "nodes"))
if nodes == 1:
    claim_gpus(snakemake.resources.gpu)
launch(
    nodes,
    devices,
    train_experiment,
    experiment=snakemake.wildcards.experiment,
    options=snakemake.params.options,
    seed=snakemake.params.seed,
    threads=max(1, snakemake.threads * nodes // devices - snakemake.params.options["num_workers"]),
    train=snakemake.input.train,
    validation=snakemake.input.validation,
    esm2=snakemake.input.esm2,
    esm_msa=snakemake.input.get("esm_msa"),
    embeddings=snakemake.params.embeddings,
    state=snakemake.params.state,
    tracked=snakemake.params.tracked,
    assignment=snakemake.input.get("assignment"),
    held_out=list(snakemake.input.get("held_out", [])),
    output=Path(snakemake.output.model).parent,
)

from pathlib import Path

from hardfold.contact.predict import predict_experiment
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
predict_experiment(
    folder=Path(snakemake.input.model).parent,
    esm2=snakemake.input.esm2,
    esm_msa=snakemake.input.get("esm_msa"),
    embeddings=snakemake.params.embeddings,
    chains={split: snakemake.input[split] for split in ("validation", "test", "target")},
    output=snakemake.output[0],
    threads=snakemake.threads,
)

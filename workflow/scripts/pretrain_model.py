from hardfold.jobs import claim_gpus, start_log
from hardfold.pretraining.train import train_model

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
settings = snakemake.params.settings
train_model(
    snakemake.wildcards.model,
    dict(snakemake.input),
    snakemake.output[0],
    snakemake.params.state,
    settings,
    seed=snakemake.params.seed,
    threads=max(1, snakemake.threads // settings["devices"] - settings.get("workers", 0)),
)

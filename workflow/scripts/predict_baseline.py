from hardfold.contact.baselines import predict_baseline
from hardfold.jobs import start_log

start_log(snakemake.log[0])
predict_baseline(
    baseline=snakemake.wildcards.baseline,
    entry=snakemake.params.entry,
    weights=snakemake.input.get("weights"),
    embeddings=snakemake.params.embeddings,
    chains={split: snakemake.input[split] for split in ("train", "validation", "test", "target")},
    output=snakemake.output[0],
    max_distance=snakemake.params.max_distance,
    seed=snakemake.params.seed,
)

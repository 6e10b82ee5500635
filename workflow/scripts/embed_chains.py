from hardfold.contact.embed import embed_chains
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
splits = snakemake.params.splits
embed_chains(
    embedding=snakemake.params.embedding,
    weights=snakemake.input.weights,
    chains=dict(zip(splits, snakemake.input.chains, strict=True)),
    outputs=dict(zip(splits, snakemake.output, strict=True)),
    threads=snakemake.threads,
)

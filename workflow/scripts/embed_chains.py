from hardfold.contact.embed import embed_chains
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
embed_chains(
    embedding=snakemake.params.embedding,
    weights=snakemake.input.weights,
    chains=snakemake.input.chains,
    outputs=snakemake.output,
    threads=snakemake.threads,
)

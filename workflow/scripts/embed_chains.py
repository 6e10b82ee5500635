from hardfold.contact.embed import embed_chains
from hardfold.jobs import start_log

start_log(snakemake.log[0])
embed_chains(
    embedding=snakemake.params.embedding,
    weights=snakemake.input.weights,
    chains=snakemake.input.chains,
    outputs=snakemake.output,
    threads=snakemake.threads,
)

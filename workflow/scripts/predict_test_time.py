from pathlib import Path

from hardfold.folding.test_time import predict_test_time
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
predict_test_time(
    seed=int(snakemake.wildcards.seed),
    weights=snakemake.input.weights,
    language_model=snakemake.input.language_model,
    targets=snakemake.input.targets,
    output=Path(snakemake.output.predictions).parent,
    state=snakemake.params.state,
    settings=snakemake.params.settings,
    recycles=snakemake.params.recycles,
    chunk_size=snakemake.params.chunk_size,
    threads=snakemake.threads,
)

from hardfold.jobs import DATABASE_FILES, start_log
from hardfold.search.build import build_database

start_log(snakemake.log[0])
provider = snakemake.params.provider
build_database(
    provider=provider,
    pool=snakemake.input[0],
    prefix=snakemake.output[0].removesuffix(DATABASE_FILES[provider][0]),
    threads=snakemake.threads,
)

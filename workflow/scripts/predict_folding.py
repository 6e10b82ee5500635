from hardfold.folding.alignment import AlignmentFeatures, read_donors
from hardfold.folding.predict import predict_structures
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
targets, files = snakemake.input.targets, snakemake.input.alignments
donors = snakemake.input.donors and read_donors(snakemake.input.donors, int(snakemake.wildcards.seed))
predict_structures(
    weights=snakemake.input.weights,
    targets=targets,
    adapters=snakemake.input.adapters,
    folds=snakemake.input.folds or None,
    output=snakemake.output[0],
    **snakemake.params.options,
    threads=snakemake.threads,
    alignments=AlignmentFeatures(*files, targets, donors) if files else None,
)

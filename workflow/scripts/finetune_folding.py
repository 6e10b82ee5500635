from pathlib import Path

from hardfold.dataset import Dataset
from hardfold.folding.alignment import AlignmentFeatures
from hardfold.folding.finetune import finetune
from hardfold.jobs import claim_gpus, start_log

start_log(snakemake.log[0])
claim_gpus(snakemake.resources.gpu)
alignments = {
    split: AlignmentFeatures(*snakemake.input[f"{split}_alignments"], snakemake.input[split])
    for split in ("train", "validation")
    if snakemake.input[f"{split}_alignments"]
}
finetune(
    arm=snakemake.wildcards.arm,
    seed=int(snakemake.wildcards.seed),
    weights=snakemake.input.weights,
    train=Dataset(snakemake.input.train),
    validation=Dataset(snakemake.input.validation),
    output=Path(snakemake.output.training).parent,
    state=snakemake.params.state,
    options=snakemake.params.options,
    threads=snakemake.threads,
    alignments=alignments,
)

"""What jobs of the two tracks read, files, and what trainings ask for, by experiment, baseline and arm.

Apart from hardfold.arms and hardfold.contact.keys, on which the jobs' own code rests: a change here reruns no job whose
files stay the same. Imports no torch.
"""

from collections.abc import Callable, Iterable, Mapping

from hardfold.arms import (
    ALIGNMENT,
    BASELINE,
    LEAVE_ONE_OUT,
    MEMORISATION,
    READS_ALIGNMENTS,
    SWAPPED,
    TRAINED_ALIGNMENT,
)
from hardfold.contact.keys import embedding_entries, encoder_names


def experiment_weights(options: Mapping) -> dict[str, str]:
    """esm2 and, with an alignment, esm_msa -> the folder of the backbone that an experiment rests on."""
    return {key: f"results/weights/{name}" for key, name in encoder_names(options).items()}


def embedding_files(options: Mapping, *splits: str) -> list[str]:
    """What an experiment reads of these splits' embeddings."""
    entries = embedding_entries(options).values()
    return [f"results/embeddings/{entry['key']}/{split}.h5" for entry in entries for split in splits]


def training_threads(options: Mapping) -> int:
    """An experiment's, on each node: for each device one, and its workers that read batches ahead."""
    return options["devices"] // options["nodes"] * (1 + options["num_workers"])


def training_resources(options: Mapping) -> dict[str, int | str]:
    """What an experiment asks for beside threads, memory and time. Several nodes are asked of Slurm's executor alone: a
    task and so many GPUs on each, and by `mpi` that the job itself starts what runs on them."""
    nodes = options["nodes"]
    if nodes == 1:
        return {"gpu": options["devices"]}
    gpus = f"gpu:{options['devices'] // nodes}"
    return {"nodes": nodes, "tasks": nodes, "mpi": "srun", "gres": gpus, "tasks_per_gpu": 0}


def nodes_fault(trainings: Iterable[tuple[Mapping, Mapping]], on_slurm: bool) -> str | None:
    """Why one of the trainings, (options, resources of its job) each, cannot run over its nodes; None where all can."""
    over_nodes = [resources for options, resources in trainings if options["nodes"] > 1]
    if over_nodes and not on_slurm:
        return "nodes: a training on several needs --profile profiles/slurm, or a run inside such a job of Slurm"
    if any(resources.get("gpu_model") for resources in over_nodes):
        return "nodes: a training on several asks for a model of GPU by gres, not by gpu_model (docs/clusters.md)"
    return None


def devices_fault(devices: Iterable[int], gpus: int) -> str | None:
    """Why trainings on so many `devices` each cannot run on a machine of `gpus`; None where all can, or where it has no
    GPU, and they run on the CPU."""
    most = max(devices, default=0)
    advice = "an empty CUDA_VISIBLE_DEVICES trains on the CPU"
    return f"devices: {most}, but there are {gpus} GPUs to use ({advice})" if 0 < gpus < most else None


def training_resource(experiments: Mapping[str, Mapping], name: str) -> Callable:
    """`name` of `training_resources` as a rule asks for it; None where an experiment does not."""
    return lambda wildcards: training_resources(experiments[wildcards.experiment]).get(name)


def baseline_inputs(entry: Mapping | None, splits: Iterable[str]) -> dict[str, str | list[str]]:
    """What a baseline reads beside the data set: its embeddings, and the weights of the encoder that made them."""
    if not entry:
        return {}
    weights = f"results/weights/{entry['model']}" if entry["encoder"] else []
    return {"embeddings": [f"results/embeddings/{entry['key']}/{split}.h5" for split in splits], "weights": weights}


def finetuning_chains(arm: str) -> str:
    """What a fine-tuning learns from: the training chains, the targets themselves, or a data set of the arm's own."""
    split = {"disjoint": "train", ALIGNMENT: "train", MEMORISATION: "target"}.get(arm)
    return f"results/dataset/{split}.h5" if split else f"results/folding/{arm}/train.h5"


def alignment_files(arm: str, split: str) -> list[str]:
    """What an arm that reads alignments reads of a split's."""
    contents = ("profile", "couplings") if arm in READS_ALIGNMENTS else ()
    return [f"results/embeddings/{content}/{split}.h5" for content in contents]


def prediction_adapters(arm: str, seed: str, folds: Iterable[int], model: str) -> list[str]:
    """The adapters of a run: none for the baseline, one a fold for leave_one_out, and the one that came with the model
    in its folder."""
    if arm == TRAINED_ALIGNMENT:
        return [f"results/weights/{model}"]
    names = {
        BASELINE: [],
        SWAPPED: [ALIGNMENT],
        LEAVE_ONE_OUT: [f"{LEAVE_ONE_OUT}/fold{fold}" for fold in folds],
    }.get(arm, [arm])
    return [f"results/folding/{name}/seed{seed}/adapter" for name in names]

"""The arms of the folding track: what each is trained on, and which may never reach a headline.

| design | arm |
| --- | --- |
| none | baseline; baseline_alignment, with the alignment adapter that came with the model |
| A, tuned on other proteins | disjoint; disjoint_alignment, which reads alignments too |
| B, k-fold over the targets | leave_one_out |
| C, the language model adapted to the target's own sequence | test_time |
| D, trained on what it is tested on | memorisation |
| knows the natives | test_time_oracle |
| controls | control_shuffled_labels, control_swapped_alignment |
| yardsticks | nearest_training, random_walk |
"""

from collections.abc import Mapping

BASELINE = "baseline"
TRAINED_ALIGNMENT = "baseline_alignment"
ALIGNMENT = "disjoint_alignment"
LEAVE_ONE_OUT = "leave_one_out"
TEST_TIME = "test_time"
MEMORISATION = "memorisation"
SHUFFLED = "control_shuffled_labels"
SWAPPED = "control_swapped_alignment"
ORACLE = "test_time_oracle"
NEAREST = "nearest_training"
FLOOR = "random_walk"
# Trained on what it is tested on, chosen with the native, a control or a yardstick: never in a headline.
OFF_HEADLINE = {MEMORISATION, ORACLE, SHUFFLED, SWAPPED, NEAREST, FLOOR}
# Their targets may be fewer than the baseline's: classes that the configuration names; those with a near chain.
PARTIAL = {LEAVE_ONE_OUT, NEAREST}
# They read results/embeddings/{profile,couplings}.
READS_ALIGNMENTS = {TRAINED_ALIGNMENT, ALIGNMENT, SWAPPED}
WITHOUT_SEED = {BASELINE, TRAINED_ALIGNMENT, NEAREST}
# Their rules fold, choose or copy without an adapter of finetune_folding.
WITHOUT_ADAPTER = {TEST_TIME, ORACLE, NEAREST}


def prediction_runs(folding: Mapping) -> list[tuple[str, int]]:
    """(arm, seed) of each folder of predictions, by the configuration's section `folding`; 0 where nothing is drawn."""
    return [
        (arm, seed)
        for arm in [BASELINE, *folding["arms"]]
        for seed in ([0] if arm in WITHOUT_SEED else folding["seeds"])
    ]


def finetuning_runs(folding: Mapping) -> list[tuple[str, int]]:
    """(name, seed) of each fine-tuning: the name is the arm, and of leave_one_out `leave_one_out/fold<k>`."""
    names = []
    for arm in folding["arms"]:
        if arm == LEAVE_ONE_OUT:
            names += [f"{arm}/fold{fold}" for fold in range(1, folding[LEAVE_ONE_OUT]["folds"] + 1)]
        elif arm not in {*WITHOUT_ADAPTER, TRAINED_ALIGNMENT, SWAPPED}:
            names.append(arm)
    return [(name, seed) for name in names for seed in folding["seeds"]]

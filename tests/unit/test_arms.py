from hardfold.arms import OFF_HEADLINE, finetuning_runs, prediction_runs

ALL = [
    "disjoint",
    "disjoint_alignment",
    "leave_one_out",
    "test_time",
    "test_time_oracle",
    "memorisation",
    "control_shuffled_labels",
]
FOLDING = {
    "arms": [*ALL, "control_swapped_alignment", "nearest_training"],
    "seeds": [1, 3],
    "leave_one_out": {"folds": 2},
}


def test_every_arm_is_predicted_once_a_seed_and_what_draws_nothing_once():
    assert prediction_runs(FOLDING) == [
        ("baseline", 0),
        *((arm, seed) for arm in [*ALL, "control_swapped_alignment"] for seed in (1, 3)),
        ("nearest_training", 0),
    ]


def test_what_is_fine_tuned_is_each_trained_arm_and_each_fold():
    names = [
        "disjoint",
        "disjoint_alignment",
        "leave_one_out/fold1",
        "leave_one_out/fold2",
        "memorisation",
        "control_shuffled_labels",
    ]
    assert finetuning_runs(FOLDING) == [(name, seed) for name in names for seed in (1, 3)]


def test_arms_that_know_the_answer_or_are_controls_reach_no_headline():
    assert OFF_HEADLINE.isdisjoint({"baseline", "disjoint", "disjoint_alignment", "leave_one_out", "test_time"})
    assert {"memorisation", "test_time_oracle", "control_shuffled_labels", "nearest_training"} < OFF_HEADLINE

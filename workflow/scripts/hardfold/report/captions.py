"""What each figure shows: file stem -> (title, caption). The stem starts with its topic."""

CAPTIONS = {
    "folding_paired": (
        "TM-score by target, baseline and adapted",
        "Each line is a target, from the untouched baseline (grey) to the adapted model (mean over seeds). "
        "The tick is the mean score of random compact walks of the target's length: the floor.",
    ),
    "folding_differences": (
        "Distribution of TM-score differences",
        "Adapted minus baseline, one dot a target (mean over seeds); below the dots the mean and its bootstrap "
        "interval. Dashed: no change; dotted: the improvement that the criterion asks for.",
    ),
    "folding_classes": (
        "TM-score by difficulty class",
        "Targets as dots, means as bars with their value; the dotted line is the random-walk floor of these targets.",
    ),
    "folding_errors": (
        "Error along the chain",
        "Distance of each CA from the native's after the superposition of the best TM-score, for the targets of the "
        "largest gain, the median and the largest loss of the primary arm. Gaps where the native is unresolved.",
    ),
    "folding_maps": (
        "Predicted and true distances",
        "CA–CA distances of the same targets, predicted above the diagonal and native below it (grey where "
        "unresolved): the baseline in the upper row, one run of the primary arm in the lower.",
    ),
    "folding_training": (
        "Course of fine-tuning",
        "Loss on training crops, loss and TM-score on validation chains against the optimiser step, "
        "one line a run: a seed, of leave_one_out a seed and fold. Step 0 is the untouched model.",
    ),
    "folding_losses": (
        "Loss components of the primary arm",
        "Unweighted components of the fine-tuning loss: thin lines training crops, thick lines validation chains, "
        "one line a seed.",
    ),
    "folding_confidence": (
        "Predicted confidence against measured lDDT",
        "pLDDT against lDDT-CA before and after adaptation: dots are targets (means of the chain, over seeds), squares "
        "the residues of all targets and seeds in bins of pLDDT. A calibrated model lies on the dashed line. "
        "The scales end where the values do.",
    ),
    "folding_memorisation": (
        "Memorisation check: trained on the targets themselves",
        "As the paired figure, for an arm that was trained on the very targets it is scored on. "
        "It shows what the adapter can memorise and is no evidence of improvement.",
    ),
    "folding_controls": (
        "Differences of arms that make no claim",
        "As the distribution of differences, for controls, yardsticks and the oracle, which knows the natives.",
    ),
    "folding_adaptation": (
        "Score against step of adaptation at test time",
        "Change of TM-score and pLDDT from step 0, the untouched model, and perplexity of residues that the adaptation "
        "never asks for; thin lines are targets. Right of the line, mean and interval of the steps chosen without the "
        "native and, apart, of the oracle's, which are chosen with it.",
    ),
    "contact_differences": (
        "The questions, answered by paired differences",
        "First minus second experiment on all held-out proteins (test chains and targets), with the 95 % bootstrap "
        "interval over sequence clusters. Coloured where the interval excludes 0 and Holm's p is below 0.05. "
        "One training run an experiment: the intervals hold no training noise.",
    ),
    "contact_precision": (
        "Contact precision by range, experiments and baselines",
        "P@L, the precision of the L highest-scored pairs, mean over proteins with 95 % bootstrap intervals over "
        "clusters. Baselines in grey. Ranges are sequence separations.",
    ),
    "contact_curves": (
        "ROC and precision-recall curves",
        "Over resolved pairs, averaged over proteins. Experiments in colour, baselines in thin grey lines.",
    ),
    "contact_neff": (
        "Long-range precision against alignment depth",
        "P@L of each held-out protein against the effective number of sequences of its alignment, for the experiment "
        "that is best on validation chains and for baselines. Bars and bands: mean and interval in bands of Neff.",
    ),
    "contact_errors": (
        "Distance error by true distance",
        "Over pairs of held-out proteins at least 6 residues apart, for the experiments that predict distances. "
        "Dotted: the distance at which the model's distances end; beyond it an error is inevitable. "
        "A model that gave all pairs one distance would draw a straight V and a falling line.",
    ),
    "contact_angles": (
        "Ramachandran plot, predicted and true",
        "Density of backbone angles over the test residues that have both, in cells of 10°, for the experiment with "
        "angles that is best on validation chains. A model that hedges puts its angles between the true clusters.",
    ),
    "contact_maps": (
        "Predicted and true contact maps",
        "Above the diagonal the predicted probability, below it the native contacts (CB-CB < 8 Å; grey where "
        "unresolved or in no window), for the best, the median and the worst test protein by long-range P@L of the "
        "experiment that is best on validation chains.",
    ),
    "contact_reliability": (
        "Reliability of predicted contact probabilities",
        "Observed frequency of contacts against predicted probability over the pairs of test chains, dot areas by the "
        "number of pairs (log scale), no line to bins of fewer than 20. "
        "On the dashed line a probability means what it says.",
    ),
    "contact_training": (
        "Training of the experiments",
        "Loss of the main task by epoch on training and validation chains. The dot marks the epoch whose weights were "
        "kept, the best by the configured `checkpoints_metric`.",
    ),
    "data_depth": (
        "Alignment depth by split",
        "Effective number of sequences (Neff) of each chain's alignment; the line is the median.",
    ),
    "data_identity": (
        "Nearest training chain before and after dropping",
        "Chains by identity to the nearest training chain that the search finds; 'none' means no hit, not 0 %.",
    ),
}

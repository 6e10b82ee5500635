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
        "Targets as dots, class means as bars with their value; the dotted line is the random-walk floor of the class.",
    ),
    "folding_training": (
        "Course of fine-tuning",
        "Loss on training crops, loss and TM-score on validation chains against the optimiser step, "
        "one line a seed. Step 0 is the untouched model.",
    ),
    "folding_losses": (
        "Loss components of the primary arm",
        "Unweighted components of the fine-tuning loss: thin lines training crops, thick lines validation chains, "
        "one line a seed.",
    ),
    "folding_confidence": (
        "Predicted confidence against measured lDDT",
        "pLDDT (mean of the chain) against lDDT-CA before and after fine-tuning, one dot a target. "
        "A calibrated model lies on the dashed line.",
    ),
    "folding_memorisation": (
        "Memorisation check: trained on the targets themselves",
        "As the paired figure, for an arm that was trained on the very targets it is scored on. "
        "It shows what the adapter can memorise and is no evidence of improvement.",
    ),
    "contact_precision": (
        "Contact precision by range and experiment",
        "P@L, the precision of the L highest-scored pairs, mean over test proteins with bootstrap intervals. "
        "Ranges are sequence separations.",
    ),
    "contact_curves": (
        "ROC and precision-recall curves",
        "Over resolved pairs, averaged over the test proteins. Dashed: chance; for precision, the base rate.",
    ),
    "contact_training": (
        "Training of the experiments",
        "Contact loss by epoch on training and validation chains. The dot marks the epoch whose weights were kept: "
        "that of the largest validation ROC AUC.",
    ),
    "contact_maps": (
        "Predicted and true contact maps",
        "Above the diagonal the predicted probability, below it the native contacts (CB-CB < 8 Å; grey where "
        "unresolved), for the best, the median and the worst test protein by long-range P@L.",
    ),
    "contact_reliability": (
        "Reliability of predicted contact probabilities",
        "Observed frequency of contacts against predicted probability, dot areas by the number of pairs (log scale). "
        "On the dashed line a probability means what it says.",
    ),
    "data_depth": (
        "Alignment depth by split",
        "Effective number of sequences (Neff) of each chain's alignment.",
    ),
    "data_identity": (
        "Nearest training chain before and after dropping",
        "Chains by identity to the nearest training chain that the search finds; 'none' means no hit, not 0 %.",
    ),
}

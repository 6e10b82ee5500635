"""What sets the contact experiments and their baselines apart, in words."""

from hardfold.report.results import Experiment

LOSSES = {
    "bce": "BCE",
    "focal": "focal",
    "mse": "MSE",
    "smooth_l1": "smooth L1",
    "cosine": "cosine",
    "cross_entropy": "cross entropy",
}
BASELINE_LABELS = {
    "base_rate": "base rate",
    "separation_prior": "separation prior",
    "attention_head": "attention head",
    "attention_head_shuffled": "attention head, shuffled",
    "couplings": "couplings alone",
}


def losses(one: Experiment) -> str:
    return ", ".join(f"{task} {LOSSES[one.options[f'{task}_loss_type']]}" for task in one.tasks)


def alignment_model(one: Experiment) -> str:
    return f"`{one.options['esm_msa_name']}`" if one.options["use_msa"] else "none"


def setting(question: str, one: Experiment) -> str:
    """How the experiment stands on what a question asks."""
    return {
        "alignment": f"alignment model {alignment_model(one)}",
        "auxiliary_tasks": losses(one),
        "losses": losses(one),
        "size": f"`{one.options['esm2_name']}`",
        "couplings": "with couplings" if one.options["use_couplings"] else "without",
    }[question]

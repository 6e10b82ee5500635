"""Tables of the contact experiments."""

from hardfold.report.format import count, duration, interval, markdown_table, number, scientific
from hardfold.report.results import Experiment, Results

LOSSES = {
    "bce": "BCE",
    "focal": "focal",
    "mse": "MSE",
    "smooth_l1": "smooth L1",
    "cosine": "cosine",
    "cross_entropy": "cross entropy",
}
TASKS = ["contact", "distance", "angle"]
PAIR_FEATURES = {
    "use_esm2_attention": "ESM-2 attention",
    "use_msa_attention": "MSA attention",
    "use_couplings": "couplings",
}


def designs(results: Results) -> str:
    rows = []
    for one in results.experiments:
        options = one.options
        losses = ", ".join(f"{task} ({LOSSES[options[f'{task}_loss_type']]})" for task in tasks(one))
        alignment_model = f"`{options['esm_msa_name']}`" if options["use_msa"] else "none"
        features = ", ".join(label for key, label in PAIR_FEATURES.items() if options[key]) or "none"
        rows.append([one.name, f"`{options['esm2_name']}`", alignment_model, features, losses])
    header = ["experiment", "sequence model", "alignment model", "pair features", "tasks (loss)"]
    return markdown_table(header, rows, numeric_from=len(header))


def costs(results: Results) -> str:
    rows = []
    for one in results.experiments:
        record = one.training
        rows.append(
            [
                one.name,
                count(record["parameters"]["trainable"]),
                count(record["parameters"]["total"]),
                f"{count(record['best_epoch'])} of {count(record['epochs'])}",
                count(record["steps"]),
                scientific(one.options["learning_rate"]),
                duration(record["seconds"]),
                number(record["peak_memory_mb"], 0),
            ]
        )
    header = ["experiment", "trainable parameters", "all parameters", "epoch kept", "steps", "learning rate", "time"]
    return markdown_table([*header, "peak MB"], rows)


def tasks(one: Experiment) -> list[str]:
    return [task for task in TASKS if one.options[f"use_{task}"]]


def ranking(results: Results) -> str:
    return _metrics(results, {"roc_auc": "ROC AUC", "pr_auc": "PR AUC", "base_rate": "base rate"})


def at_threshold(results: Results) -> str:
    metrics = {"threshold": "threshold", "precision": "precision", "recall": "recall", "f1": "F1"}
    return _metrics(results, metrics)


def precision(results: Results, span: str) -> str:
    return _metrics(results, {f"p_at_{top}_{span}": label for top, label in _TOPS.items()})


_TOPS = {"l": "P@L", "l2": "P@L/2", "l5": "P@L/5"}


def errors(results: Results) -> str:
    return _metrics(results, {"distance_mae": "distance error (Å)", "angle_mae": "angle error (°)"})


def _metrics(results: Results, columns: dict[str, str]) -> str:
    """Value and interval of some metrics, one row an experiment."""
    rows = []
    table = results.summary.set_index("experiment")
    for name in (one.name for one in results.experiments):
        row = table.loc[name] if name in table.index else {}
        cells = [interval(row.get(key), row.get(f"{key}_low"), row.get(f"{key}_high")) for key in columns]
        rows.append([name, count(row.get("proteins")), *cells])
    return markdown_table(["experiment", "proteins", *columns.values()], rows)

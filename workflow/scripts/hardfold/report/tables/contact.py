"""Tables of the contact experiments."""

from hardfold.alignment.diversity import NEFF_BANDS
from hardfold.contact.collect import HELD_OUT
from hardfold.report.answers import METRIC_LABELS, WORDINGS, compared, difference
from hardfold.report.bands import BANDS
from hardfold.report.designs import alignment_model, losses
from hardfold.report.format import (
    UNKNOWN,
    count,
    duration,
    interval,
    markdown_table,
    number,
    p_value,
    scientific,
    words,
)
from hardfold.report.results import Baseline, Experiment, Results

SPLITS = {"test": "Test chains", "target": "Targets"}
COMPARED_LABELS = METRIC_LABELS | {"pr_auc": "PR AUC"}
PAIR_FEATURES = {
    "use_esm2_attention": "ESM-2 attention",
    "use_msa_attention": "MSA attention",
    "use_couplings": "couplings",
}


def comparisons(results: Results) -> str:
    """Every pair of experiments that answers a question, by metric: the difference on all held-out proteins with its
    tests, then on test chains and on targets.
    """
    table = results.comparisons[results.comparisons["question"].isin(WORDINGS)]
    rows = []
    for (question, first, second, metric), part in table.groupby(["question", "first", "second", "metric"], sort=False):
        by_split = {row["split"]: row for row in part.to_dict("records")}
        pooled = by_split[HELD_OUT]
        rows.append(
            [
                question.replace("_", " "),
                f"{first} − {second}",
                COMPARED_LABELS[metric],
                *(count(pooled[key]) for key in ("proteins", "clusters")),
                *(number(pooled[key]) for key in ("first_value", "second_value")),
                _difference(pooled),
                *(p_value(pooled[key]) for key in ("p", "p_holm")),
                *(_difference(by_split.get(split)) for split in SPLITS),
            ]
        )
    order = list(WORDINGS)
    rows.sort(key=lambda row: order.index(row[0].replace(" ", "_")))
    header = ["question", "pair", "metric", "proteins", "clusters", "first", "second", "difference", "p", "Holm p"]
    return markdown_table([*header, "on test chains", "on targets"], rows, numeric_from=3)


def margins(results: Results) -> str:
    """Each experiment minus each baseline on all held-out proteins."""
    table = compared(results, "baseline").set_index(["first", "second", "metric"])
    names = [one.name for one in results.baselines]
    rows = [
        [one.name, label, *(_difference(_row(table, (one.name, name, metric))) for name in names)]
        for one in results.experiments
        for metric, label in METRIC_LABELS.items()
    ]
    return markdown_table(["experiment", "metric", *(f"minus {name}" for name in names)], rows, numeric_from=2)


def _row(table, key):
    return table.loc[key] if key in table.index else None


def _difference(row) -> str:
    return UNKNOWN if row is None else difference(row)


def designs(results: Results) -> str:
    rows = []
    for one in results.experiments:
        features = ", ".join(label for key, label in PAIR_FEATURES.items() if one.options[key]) or "none"
        rows.append([one.name, f"`{one.options['esm2_name']}`", alignment_model(one), features, losses(one)])
    header = ["experiment", "sequence model", "alignment model", "pair features", "tasks and their losses"]
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
                number(one.validation_roc_auc),
                count(record["steps"]),
                scientific(one.options["learning_rate"]),
                duration(record["seconds"]),
                number(record["peak_memory_mb"], 0),
            ]
        )
    header = ["experiment", "trainable parameters", "all parameters", "epoch kept", "its validation ROC AUC", "steps"]
    return markdown_table([*header, "learning rate", "time", "peak MB"], rows)


def ranking(results: Results, split: str) -> str:
    return _metrics(results, split, {"roc_auc": "ROC AUC", "pr_auc": "PR AUC", "base_rate": "base rate"})


def at_threshold(results: Results, split: str) -> str:
    metrics = {"threshold": "threshold", "precision": "precision", "recall": "recall", "f1": "F1"}
    return _metrics(results, split, metrics)


def at_half(results: Results, split: str) -> str:
    return _metrics(results, split, {"precision_0.5": "precision", "recall_0.5": "recall", "f1_0.5": "F1"})


def precision(results: Results, split: str, span: str) -> str:
    return _metrics(results, split, {f"p_at_{top}_{span}": label for top, label in _TOPS.items()})


_TOPS = {"l": "P@L", "l2": "P@L/2", "l5": "P@L/5"}


def errors(results: Results, split: str) -> str:
    return _metrics(results, split, {"distance_mae": "distance error (Å)", "angle_mae": "angle error (°)"})


def _metrics(results: Results, split: str, columns: dict[str, str]) -> str:
    """Value and interval of some metrics, one row an experiment, then one a baseline that has any; n where a metric is
    not defined for all proteins.
    """
    rows = []
    for one in [*results.experiments, *results.baselines]:
        row, section = results.metrics[split].loc[one.name], one.metrics[split]
        if isinstance(one, Baseline) and not any(section["metrics"][key]["n"] for key in columns):
            continue
        cells = []
        for key in columns:
            cell, n = interval(row[key], row[f"{key}_low"], row[f"{key}_high"]), section["metrics"][key]["n"]
            cells.append(f"{cell} (n = {count(n)})" if 0 < n < section["proteins"] else cell)
        rows.append([_label(one), count(row["proteins"]), *cells])
    return markdown_table(["experiment", "proteins", *columns.values()], rows)


def _label(one: Experiment | Baseline) -> str:
    return f"*{one.name}* (baseline)" if isinstance(one, Baseline) else one.name


def by_band(results: Results, by: str, metric: str) -> str:
    """A metric on all held-out proteins, in bands of alignment depth or of identity to the nearest training chain."""
    table = results.bands[(results.bands["by"] == by) & (results.bands["split"] == HELD_OUT)]
    present = set(table["band"])
    names = [name for name in {"neff": NEFF_BANDS, "identity": BANDS}[by] if name in present]
    sizes = {name: words(sorted({count(n) for n in table["proteins"][table["band"] == name]})) for name in names}
    cells = table.set_index(["experiment", "band"])
    rows = []
    for one in [*results.experiments, *results.baselines]:
        row = [_label(one)]
        for name in names:
            entry = _row(cells, (one.name, name))
            ends = (None,) * 3 if entry is None else (entry[f"{metric}{part}"] for part in ("", "_low", "_high"))
            row.append(interval(*ends))
        rows.append(row)
    return markdown_table(["experiment", *(f"{name} (n = {sizes[name]})" for name in names)], rows)

"""Tables of fine-tuning: how it went, what it cost, how it was set."""

import pandas as pd

from hardfold.report.format import count, duration, markdown_table, number, scientific, text, words
from hardfold.report.results import Results, Tuning


def process(results: Results) -> str:
    rows = []
    for run in results.tunings:
        record = run.training
        rows.append(
            [
                f"{run.arm}, seed {run.seed}",
                count(record["chains"]),
                count(record["steps"]),
                scientific(record["learning_rate"]),
                duration(record["seconds"]),
                number(record["tokens_per_second"], 0),
                number(record["peak_memory_mb"], 0),
                "yes" if record["convergence"]["met"] else "no",
                number(record["convergence"]["value"], 4),
            ]
        )
    header = [
        "run",
        "chains",
        "steps",
        "learning rate",
        "time",
        "residues/s",
        "peak MB",
        "converged",
        "criterion's value",
    ]
    return markdown_table(header, rows)


def convergence_criteria(results: Results) -> list[str]:
    return sorted({run.training["convergence"]["criterion"] for run in results.tunings})


def converged(results: Results) -> tuple[int, int]:
    """Runs that met their convergence criterion, and all runs."""
    return sum(bool(run.training["convergence"]["met"]) for run in results.tunings), len(results.tunings)


def losses(results: Results) -> str:
    """Held-out losses and scores at the first and the last evaluation."""
    parts = {
        "fape": "FAPE",
        "confidence": "confidence",
        "contact": "contact",
        "loss": "sum",
        "tm": "TM",
        "lddt": "lDDT",
    }
    rows = []
    for run in results.tunings:
        cells = [_first_and_last(run.history[f"validation_{part}"]) for part in parts]
        rows.append([f"{run.arm}, seed {run.seed}", *cells])
    return markdown_table(["run", *parts.values()], rows)


def adapter(results: Results) -> str:
    rows = []
    for run in results.tunings:
        trainable, total = run.training["trainable_parameters"], run.training["total_parameters"]
        share = number(100 * trainable / total, 2) if total else None
        modules, start = len(run.training["adapted_modules"]), run.training["step0_max_difference"]
        label = f"{run.arm}, seed {run.seed}"
        rows.append([label, count(trainable), count(total), share, count(modules), scientific(start)])
    header = ["run", "trainable parameters", "all parameters", "%", "adapted modules", "step 0 minus baseline (Å)"]
    return markdown_table(header, rows)


def configuration(results: Results) -> str:
    """The folding section of the configuration, flattened."""
    folding = results.config["folding"]
    rows = [[f"`{key}`", _setting(value)] for key, value in _flatten(folding)]
    return markdown_table(["setting (`folding.`)", "value"], rows, numeric_from=2)


def chains(results: Results, arm: str) -> str:
    return words(sorted({count(run.training["chains"]) for run in results.tunings if run.arm == arm}))


def seconds(runs: list[Tuning]) -> float:
    return sum(run.training["seconds"] for run in runs)


def _first_and_last(values: pd.Series) -> str:
    measured = values.dropna()
    if measured.empty:
        return text(None)
    return f"{number(measured.iloc[0])} → {number(measured.iloc[-1])}"


def _flatten(section: dict, prefix: str = ""):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _setting(value) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return scientific(value) if isinstance(value, float) else text(value)

"""Tables of fine-tuning: how it went, what it cost, how it was set."""

import re

import pandas as pd

from hardfold.arms import TEST_TIME
from hardfold.report.folding_results import Tuning
from hardfold.report.format import count, duration, markdown_table, number, scientific, text, words
from hardfold.report.results import Results

WRAPPING = re.compile(r"^base_model\.model\.|\.modules_to_save|\.default(?=\.)")  # what peft adds to names
BLOCK = re.compile(r"\bblocks\.(\d+)")


def process(results: Results) -> str:
    """A row a fine-tuning run, then one a run of test_time, whose steps are those of each target."""
    rows = []
    for run in results.tunings:
        record = run.training
        rows.append(
            [
                _label(run),
                count(record["chains"]),
                count(record["steps"]),
                count(record["kept_step"]),
                scientific(record["learning_rate"]),
                duration(record["seconds"]),
                number(record["tokens_per_second"], 0),
                number(record["peak_memory_mb"], 0),
                "yes" if record["convergence"]["met"] else "no",
                number(record["convergence"]["value"], 4),
            ]
        )
    for run in results.adaptations:
        record = run.record
        cells = [count(record["targets"]), f"{count(record['steps'])} a target", None]
        cells += [scientific(record["learning_rate"]), duration(record["seconds"]), None]
        rows.append([f"{TEST_TIME}, seed {run.seed}", *cells, number(record["peak_memory_mb"], 0), None, None])
    header = ["run", "chains", "steps", "step kept", "learning rate", "time", "tokens (residues)/s", "peak MB"]
    return markdown_table([*header, "converged", "criterion's value"], rows)


def cost(results: Results) -> str:
    """Of each arm the time of all its runs, and of its shortest and longest seed (folds together)."""
    times: dict[str, dict[int, float]] = {}
    memory: dict[str, float] = {}
    runs = [(run.arm, run.seed, run.training) for run in results.tunings]
    for arm, seed, record in [*runs, *((TEST_TIME, run.seed, run.record) for run in results.adaptations)]:
        seeds = times.setdefault(arm, {})
        seeds[seed] = seeds.get(seed, 0) + record["seconds"]
        memory[arm] = max(memory.get(arm, 0), record["peak_memory_mb"])
    rows = []
    for arm, seeds in times.items():
        times_shown = map(duration, (sum(seeds.values()), min(seeds.values()), max(seeds.values())))
        rows.append([arm, count(len(seeds)), *times_shown, number(memory[arm], 0)])
    header = ["arm", "seeds", "time in all", "shortest seed", "longest seed", "peak MB"]
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
        rows.append([_label(run), *cells])
    return markdown_table(["run", *parts.values()], rows)


def adapter(results: Results) -> str:
    rows = []
    runs = [(_label(run), run.training) for run in results.tunings]
    for label, record in [*runs, *((f"{TEST_TIME}, seed {run.seed}", run.record) for run in results.adaptations)]:
        trainable, total = record["trainable_parameters"], record["total_parameters"]
        share = number(100 * trainable / total, 2) if total else None
        modules, start = len(record["adapted_modules"]), record["step0_max_difference"]
        rows.append([label, count(trainable), count(total), share, count(modules), scientific(start)])
    header = ["run", "trainable parameters", "all parameters", "%", "adapted modules", "step 0 minus baseline (Å)"]
    return markdown_table(header, rows)


def trained(results: Results) -> list[tuple[str, str]]:
    """For each set of trained parameters, which fine-tuning runs share it, and a table of it by name."""
    sets: dict[tuple, list[str]] = {}
    for run in results.tunings:
        arms = sets.setdefault(tuple(run.training["trained"].items()), [])
        arms += [run.arm] if run.arm not in arms else []
    return [(words([f"`{arm}`" for arm in arms]), _by_name(dict(names))) for names, arms in sets.items()]


def _by_name(parameters: dict[str, int]) -> str:
    """Parameters of equal names in several blocks together, blocks and the halves of LoRA in braces."""
    names = [WRAPPING.sub("", name) for name in parameters]
    table = pd.DataFrame({"name": names, "size": list(parameters.values())})
    table["pattern"] = table["name"].str.replace(BLOCK, "blocks.*", n=1, regex=True)
    table["pattern"] = table["pattern"].str.replace(r"lora_[AB]", "lora_{A, B}", regex=True)
    rows = []
    for pattern, part in table.groupby("pattern", sort=False):
        blocks = part["name"].str.extract(BLOCK)[0].dropna().unique()
        name = pattern.replace("*", "{" + ", ".join(blocks) + "}")
        rows.append([f"`{name}`", count(len(part)), count(part["size"].sum())])
    rows.append(["all", count(len(table)), count(table["size"].sum())])
    return markdown_table(["parameter", "tensors", "parameters"], rows)


def loaded_keys(results: Results) -> list[str]:
    """What was loaded of the folding model's weights; one statement where all runs agree."""
    statements = {}
    for run in results.tunings:
        keys = run.training["loaded_keys"]
        named = [f"{kind}: {words([f'`{key}`' for key in keys[kind]]) or 'none'}" for kind in ("missing", "unexpected")]
        statements.setdefault(f"{count(keys['loaded'])} tensors loaded; {'; '.join(named)}", []).append(run.arm)
    return [f"{said} ({words(list(dict.fromkeys(arms)))})." for said, arms in statements.items()]


def configuration(results: Results) -> str:
    """The folding section of the configuration, flattened."""
    folding = results.config["folding"]
    rows = [[f"`{key}`", _setting(value)] for key, value in _flatten(folding)]
    return markdown_table(["setting (`folding.`)", "value"], rows, numeric_from=2)


def chains(results: Results, arm: str) -> str:
    return words(sorted({count(run.training["chains"]) for run in results.tunings if run.arm == arm}))


def _label(run: Tuning) -> str:
    return f"{run.name}, seed {run.seed}"


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

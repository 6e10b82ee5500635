"""How the embedded models learnt: docs/benchmarks/pretraining.png, and a table of what more tokens would bring.

    python tests/benchmarks/pretraining_curves.py [FOLDER]

FOLDER: a folder a model, as `snakemake pretraining` makes them (left out: resources/models). The fit is a power law,
loss = a tokens^-b, through the later half of a language model's validations.
"""

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
from measure import ROOT, print_table

from hardfold.report.figures.style import BLUE, CYCLE, GREY, ORANGE, PALE, panels, row_key, save, with_style

PLOT = ROOT / "docs/benchmarks/pretraining.png"
MORE = (10, 100, 1000)
SCORES = {"tm": "TM-score", "lddt": "lDDT-CA"}
TICKS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 10_000)
# Key of training.json -> words.
FLOORS = {"random_walk_tm": "random compact walks", "nearest_training_tm": "nearest training structure"}


def read_models(folder):
    """(training.json, rows of history.csv that were validated, as numbers) by model."""
    models = {}
    for path in sorted(folder.glob("*/training.json")):
        with open(path.parent / "history.csv") as handle:
            rows = [row for row in csv.DictReader(handle) if row["validation_loss"]]
        numbers = [{key: float(value) for key, value in row.items() if value} for row in rows]
        models[path.parent.name] = json.loads(path.read_text()), numbers
    return models


def fit(rows):
    """a and b of the power law, tokens in millions."""
    later = rows[len(rows) // 2 :]
    tokens, losses = (np.array([row[key] for row in later]) for key in ("tokens", "validation_loss"))
    slope, start = np.polyfit(np.log(tokens / 1e6), np.log(losses), 1)
    return math.exp(start), -slope


def print_fits(models):
    rows = []
    for name, (training, history) in models.items():
        if training["settings"]["kind"] == "folding":
            continue
        (a, b), millions, unigram = fit(history), training["tokens"] / 1e6, training.get("unigram_perplexity")
        row = {"model": name, "parameters": f"{training['parameters']:,}", "M tokens": f"{millions:.1f}"}
        row["perplexity"] = f"{training['validation_perplexity']:.2f}"
        row["residue frequencies"] = f"{unigram:.2f}" if unigram else ""
        row["loss, M million tokens"] = f"{a:.2f} M^{-b:.3f}"
        row |= {f"{more} x tokens": f"{math.exp(a * (more * millions) ** -b):.1f}" for more in MORE}
        row |= {"long-range P@L": f"{training['contacts']['p_at_l_long']:.3f}"}
        rows.append(row | {"minutes": f"{training['seconds'] / 60:.0f}"})
    print_table("Language models", list(rows[0]), [row.values() for row in rows])


def draw_level(axes, value, label):
    axes.axhline(value, color=GREY, linestyle=":", linewidth=0.9)
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(label, (1, value), (-2, 2), color=GREY, ha="right", **place)


def draw_language(axes, models, kind, title):
    chosen = {name: given for name, given in models.items() if given[0]["settings"]["kind"] == kind}
    colours = dict(zip(chosen, CYCLE, strict=False))
    for name, (_, history) in chosen.items():
        rows = [row for row in history if row["tokens"]]
        tokens = [row["tokens"] / 1e6 for row in rows]
        axes.plot(tokens, [row["validation_perplexity"] for row in rows], color=colours[name])
    for value in {training.get("unigram_perplexity") for training, _ in chosen.values()} - {None}:
        draw_level(axes, value, "residue frequencies")
    axes.set(xscale="log", xlabel="tokens, millions", ylabel="held-out perplexity")
    low, high = axes.get_xlim()
    axes.minorticks_off()
    axes.set_xticks([tick for tick in TICKS if low <= tick <= high])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title(title, pad=20)
    row_key(axes, {name.removesuffix("_hardfold"): colour for name, colour in colours.items()})


def draw_folding(axes, training, history, score, floors):
    steps, colours = [row["step"] for row in history], {}
    for label, part, colour in (("sequence", "", BLUE), ("sequence and alignment", "_aligned", ORANGE)):
        if f"validation_{score}{part}" in history[-1]:
            axes.plot(steps, [row[f"validation_{score}{part}"] for row in history], color=colour)
            colours[label] = colour
    for key, label in floors.items():
        draw_level(axes, training[key], label)
    for end in np.cumsum([stage["steps"] for stage in training["settings"]["stages"]])[:-1]:
        axes.axvline(end, color=PALE, linewidth=0.7, zorder=0)
    axes.set(xlabel="step", ylabel=f"mean {SCORES[score]}, held-out chains", ylim=(0, None))
    axes.set_title(f"Folding model: {SCORES[score]}", pad=20)
    row_key(axes, colours)


def main(folder):
    models = read_models(folder)
    print_fits(models)
    folding = [given for given in models.values() if given[0]["settings"]["kind"] == "folding"]
    with with_style():
        figure, axes = panels(2, 2, 5.8)
        draw_language(axes[0, 0], models, "sequence", "Language models (ESM-2 architecture)")
        draw_language(axes[0, 1], models, "alignment", "Alignment model (ESM-MSA-1b architecture)")
        draw_folding(axes[1, 0], *folding[0], "tm", FLOORS)
        draw_folding(axes[1, 1], *folding[0], "lddt", {})
        save(figure, PLOT)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "resources/models")

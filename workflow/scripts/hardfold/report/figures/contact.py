"""Figures of the contact track's scores: questions, ranges, curves, depth, training, reliability."""

import numpy as np
from matplotlib.figure import Figure

from hardfold.alignment.diversity import NEFF_BANDS
from hardfold.contact.collect import HELD_OUT
from hardfold.leakage import SCORED
from hardfold.report.answers import HIGHER, LOWER, METRIC_LABELS, WORDINGS, compared, judge
from hardfold.report.designs import LOSSES
from hardfold.report.figures.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILION,
    baseline_styles,
    experiment_colours,
    keep_panels,
    key_below,
    panels,
)
from hardfold.report.results import Experiment, Results

RANGES = {"short": "short, 6–11", "medium": "medium, 12–23", "long": "long, ≥ 24"}
SPLIT_NAMES = {"test": "test chains", "target": "targets"}
# Baselines that rank pairs by what they know of the protein.
PEERS = ["attention_head", "couplings"]
FEW_PAIRS = 20  # in a bin of the reliability diagram, below which no line leads to it


def differences(results: Results) -> Figure | None:
    """The questions one below the other, a row for each pair of experiments that answers one."""
    asked = {question: compared(results, question) for question in WORDINGS}
    if all(rows.empty for rows in asked.values()):
        return None
    places, headings = {}, {}
    for question, rows in asked.items():
        if not rows.empty:
            headings[len(places) + len(headings)] = WORDINGS[question].text
            for pair in dict.fromkeys(zip(rows["first"], rows["second"], strict=True)):
                places[question, *pair] = len(places) + len(headings)
    last = len(places) + len(headings)
    figure, axes = panels(1, len(METRIC_LABELS), 0.9 + 0.25 * last, sharey=True)
    colours = {HIGHER: BLUE, LOWER: VERMILION}
    for axis, (metric, label) in zip(axes[0], METRIC_LABELS.items(), strict=True):
        for question, rows in asked.items():
            for row in rows[rows["metric"] == metric].to_dict("records"):
                place, colour = places[question, row["first"], row["second"]], colours.get(judge(row), GREY)
                axis.hlines(place, row["low"], row["high"], color=colour, linewidth=2)
                axis.scatter([row["difference"]], [place], s=26, color=colour, zorder=3)
        axis.axvline(0, color=INK, linestyle="--", linewidth=0.8)
        axis.set_xlabel(f"difference in {label}")
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
        for place in headings:
            axis.axhline(place - 0.5, color=PALE, linewidth=0.7)
    ticks = headings | {place: f"{first} − {second}" for (_, first, second), place in places.items()}
    axes[0, 0].set_yticks(list(ticks), ticks.values())
    for place, text in zip(ticks, axes[0, 0].get_yticklabels(), strict=True):
        text.set_fontweight("bold" if place in headings else "normal")
    axes[0, 0].set_ylim(last - 0.4, -0.6)
    marker = {"linestyle": "none", "marker": "o", "markersize": 5}
    key = {"first higher": BLUE, "first lower": VERMILION, "not told apart, or unknown": GREY}
    key_below(figure, {label: marker | {"color": colour} for label, colour in key.items()})
    return figure


def precision(results: Results) -> Figure | None:
    """P@L by range: filled dots on test chains, open ones on targets; a baseline that ranks no pairs has none."""
    colours = experiment_colours([one.name for one in results.experiments])
    ranks = results.metrics["test"]["p_at_l_long"].notna()
    colours |= dict.fromkeys((one.name for one in results.baselines if ranks[one.name]), GREY)
    figure, axes = panels(1, len(RANGES), 1.1 + 0.25 * len(colours), sharex=True, sharey=True)
    for axis, (span, label) in zip(axes[0], RANGES.items(), strict=True):
        key = f"p_at_l_{span}"
        for split, offset in zip(SCORED, (-0.17, 0.17), strict=True):
            for place, (name, colour) in enumerate(colours.items()):
                row = results.metrics[split].loc[name]
                face = colour if split == "test" else "white"
                axis.hlines(place + offset, row[f"{key}_low"], row[f"{key}_high"], color=colour, linewidth=1.4)
                axis.scatter([row[key]], [place + offset], s=20, color=face, edgecolor=colour, zorder=3)
        axis.set(title=label, xlabel="P@L (fraction)")
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(colours)), colours)
    axes[0, 0].set_ylim(len(colours) - 0.5, -0.5)
    axes[0, 0].set_xlim(left=0)
    marker = {"linestyle": "none", "marker": "o", "markersize": 5}
    faces = {"test": INK, "target": "white"}
    key_below(figure, {f"{SPLIT_NAMES[split]} ({_proteins(results, split)})": marker | {"markerfacecolor": face}
                       for split, face in faces.items()})  # fmt: skip
    return figure


def curves(results: Results) -> Figure | None:
    """ROC and precision-recall curves, a row a split; experiments in colour, baselines thin and grey."""
    colours = experiment_colours([one.name for one in results.experiments])
    lines = {name: {"color": colour} for name, colour in colours.items()}
    lines |= baseline_styles([one.name for one in results.baselines])
    figure, axes = panels(len(SCORED), 2, 6.2, sharex=True)
    for (roc, pr), split in zip(axes, SCORED, strict=True):
        for one in [*results.baselines, *results.experiments]:
            drawn = one.metrics[split]["curves"]
            # A curve is null where no protein has both contacts and other pairs.
            if drawn["roc"]["tpr"] is not None:
                roc.plot(drawn["roc"]["fpr"], drawn["roc"]["tpr"], **lines[one.name])
                pr.plot(drawn["pr"]["recall"], drawn["pr"]["precision"], **lines[one.name])
        roc.set(xlim=(0, 1), ylim=(0, 1), ylabel="true positive rate")
        pr.set(xlim=(0, 1), ylim=(0, None), ylabel="precision")
        for axis, kind in ((roc, "ROC"), (pr, "precision, recall")):
            axis.set_title(f"{kind}, {SPLIT_NAMES[split]} ({_proteins(results, split)})")
            axis.grid()
    for axis, label in zip(axes[-1], ("false positive rate", "recall"), strict=True):
        axis.set_xlabel(label)
    key_below(figure, lines, columns=4)
    return figure


def depth(results: Results) -> Figure | None:
    """Long-range P@L of each held-out protein against Neff, with the means of the bands."""
    baselines = {one.name: one for one in results.baselines}
    shown = [one for one in (results.best, *map(baselines.get, PEERS)) if one]
    neff = results.alignments.set_index("chain")["neff"]
    bands = results.bands[(results.bands["by"] == "neff") & (results.bands["split"] == HELD_OUT)]
    proteins = {
        one.name: [
            (neff.get(row["chain"], np.nan), row["p_at_l_long"], split)
            for split in SCORED
            for row in one.metrics[split]["by_protein"]
            if row["p_at_l_long"] is not None
        ]
        for one in shown
    }
    deepest = max((x for points in proteins.values() for x, _, _ in points if x > 0), default=None)
    if deepest is None:
        return None
    right = 1.3 * max(deepest, 10)
    figure, axes = panels(1, len(shown), 3.1, sharex=True, sharey=True)
    colours = experiment_colours([one.name for one in results.experiments])
    for axis, one in zip(axes[0], shown, strict=True):
        colour = colours.get(one.name, INK)
        for split in SCORED:
            x, y = np.array([point[:2] for point in proteins[one.name] if point[2] == split]).reshape(-1, 2).T
            axis.scatter(x.clip(1), y, s=12, linewidth=0.8, color=colour if split == "test" else "white",
                         edgecolor=colour, alpha=0.7, clip_on=False, zorder=3)  # fmt: skip
        for row in bands[bands["experiment"] == one.name].to_dict("records"):
            left, end = np.clip(NEFF_BANDS[row["band"]], 1, right)  # a log scale has no 0
            axis.fill_between([left, end], row["p_at_l_long_low"], row["p_at_l_long_high"], color=PALE, zorder=0)
            axis.hlines(row["p_at_l_long"], left, end, color=colour, linewidth=2.2)
        axis.set(xscale="log", title=f"{one.name} (n = {len(proteins[one.name])})", xlabel="Neff (log scale)")
        axis.set_xticks([tick for tick in (1, 10, 30, 100, 1000, 10000) if tick <= right])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid()
    axes[0, 0].set(xlim=(0.9, right), ylim=(0, None), ylabel="long-range P@L (fraction)")
    marker = {"linestyle": "none", "marker": "o", "markersize": 4.5}
    key_below(figure, {"test chain": marker, "target": marker | {"markerfacecolor": "white"},
                       "mean of the band": {"linewidth": 2.2}, "its 95 % interval": {"linewidth": 7, "color": PALE}}
              )  # fmt: skip
    return figure


def training(results: Results) -> Figure | None:
    """Loss of the main task by epoch; one scale for all where all are of one kind."""
    columns = min(3, len(results.experiments))
    rows = -(-len(results.experiments) // columns)
    colours = experiment_colours([one.name for one in results.experiments])
    kinds = {one.name: main_loss(one) for one in results.experiments}
    alike = len(set(kinds.values())) == 1
    figure, axes = panels(rows, columns, 0.8 + 1.75 * rows, sharex=True, sharey=alike)
    for axis, one in zip(axes.flat, results.experiments, strict=False):
        history, colour, task = one.history, colours[one.name], one.options["main_task"]
        axis.plot(history["epoch"], history[f"train_{task}"], color=colour, linestyle="--", linewidth=1)
        axis.plot(history["epoch"], history[f"validation_{task}"], color=colour)
        kept = history[history["epoch"] == one.training["best_epoch"]]
        axis.scatter(kept["epoch"], kept[f"validation_{task}"], s=26, color=colour, zorder=3)
        title = f"{one.name}, epoch {one.training['best_epoch']} of {one.training['epochs']} kept"
        axis.set_title(title if alike else f"{title}\n{kinds[one.name]}")
        axis.grid(axis="y")
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    for axis in keep_panels(axes, len(results.experiments)):
        axis.set_xlabel("epoch")
    key_below(
        figure,
        {
            "training": {"linestyle": "--", "linewidth": 1},
            "validation": {},
            "weights kept": {"linestyle": "none", "marker": "o"},
        },
    )
    figure.supylabel(f"loss ({kinds.popitem()[1]})" if alike else "loss of the main task", fontsize=8.5)
    return figure


def main_loss(one: Experiment) -> str:
    """What the loss of the experiment's main task is."""
    options = one.options
    if options["main_task"] == "distance":
        return f"distance, {LOSSES[options['distance_loss_type']]}"
    if options["contact_loss_type"] == "focal":
        return f"contact, focal, γ = {options['focal_gamma']:g}, α = {options['focal_alpha']:g}"
    return f"contact, BCE, positives × {options['positive_weight']:g}"


def reliability(results: Results) -> Figure | None:
    """Observed against predicted on test pairs: every experiment, and the baselines that know the protein."""
    colours = experiment_colours([one.name for one in results.experiments])
    shown = [*results.experiments, *(one for one in results.baselines if one.name in PEERS)]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = panels(rows, columns, 0.5 + 2.2 * rows, sharex=True, sharey=True)
    for axis, one in zip(axes.flat, shown, strict=False):
        bins, colour = one.metrics["test"]["reliability"], colours.get(one.name, GREY)
        counts = np.array(bins["count"], dtype=float)
        filled = counts > 0
        predicted, observed = (np.array(bins[key], dtype=float)[filled] for key in ("predicted", "observed"))
        axis.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.8)
        sure = counts[filled] >= FEW_PAIRS
        axis.plot(predicted[sure], observed[sure], color=colour, linewidth=1)
        axis.scatter(predicted, observed, s=8 * np.log10(1 + counts[filled]), color=colour, zorder=3, clip_on=False)
        axis.set(xlim=(0, 1), ylim=(0, 1), title=f"{one.name}, {int(counts.sum()):,} pairs")
        axis.grid()
    keep_panels(axes, len(shown))
    figure.supxlabel("predicted contact probability", fontsize=8.5)
    figure.supylabel("observed frequency of contacts", fontsize=8.5)
    return figure


def _proteins(results: Results, split: str) -> str:
    return f"n = {results.experiments[0].metrics[split]['proteins']} proteins"

"""Figures of the folding track."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hardfold.arms import FLOOR, MEMORISATION
from hardfold.report.figures.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    WIDTH,
    arm_colours,
    key_below,
    panels,
    row_key,
    stack,
)
from hardfold.report.format import number
from hardfold.report.results import Results

# Above this many targets their names would not be readable beside the dots.
MOST_NAMED_TARGETS = 80


def paired(results: Results) -> Figure | None:
    return _paired(results, results.primary["arm"])


def memorisation(results: Results) -> Figure | None:
    return _paired(results, MEMORISATION)


def _paired(results: Results, arm: str) -> Figure | None:
    rows = _by_target(results, arm).sort_values(["class", "baseline"], ignore_index=True)
    if rows.empty:
        return None
    floor = results.chain_scores(FLOOR)["tm"].droplevel("class")
    colour = arm_colours(results.config["folding"]["arms"])[arm]
    # A gap of one line between classes, which carries the class's name.
    class_rank = rows["class"].rank(method="dense").astype(int)
    y = np.arange(len(rows)) + 1.6 * class_rank
    figure = Figure(figsize=(WIDTH, min(1.3 + 0.17 * float(y.max()), 16)), layout="constrained")
    axes = figure.subplots()
    axes.hlines(y, rows["baseline"], rows["tm"], color=PALE, linewidth=2.5, zorder=1)
    axes.scatter(rows["baseline"], y, s=22, color=GREY, zorder=3)
    axes.scatter(rows["tm"], y, s=22, color=colour, zorder=4)
    axes.scatter(rows["target"].map(floor), y, s=34, marker="|", color=INK, linewidth=1, zorder=2)
    for group in sorted(set(rows["class"])):
        members = rows["class"] == group
        label = f"{group}, n = {members.sum()}"
        axes.text(-0.01, y[members].min() - 1.0, label, weight="bold", va="center", ha="right", clip_on=False,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    named = len(rows) <= MOST_NAMED_TARGETS
    axes.set_yticks(y if named else [], rows["target"] if named else [], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(y.max() + 0.8, y.min() - 2.4)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.set_xlabel("TM-score")
    axes.set_title(f"TM-score before and after fine-tuning, arm {arm} (n = {len(rows)} targets)", pad=18)
    row_key(axes, {"● baseline": GREY, f"● {arm}": colour, "| random walk": INK})
    return figure


def differences(results: Results) -> Figure | None:
    """One panel an arm of the headline: dots stacked by difference, mean and interval below."""
    arms = [arm for arm in results.headline_arms if not _by_target(results, arm).empty]
    if not arms:
        return None
    everything = pd.concat([_by_target(results, arm) for arm in arms])["difference"]
    threshold = results.primary["min_improvement"]
    low, high = min(everything.min(), 0.0), max(everything.max(), threshold)
    width = (high - low) / 45
    figure, axes = panels(len(arms), 1, 2.3 * len(arms), sharex=True)
    for axis, arm in zip(axes[:, 0], arms, strict=True):
        colour = arm_colours(arms)[arm]
        values = _by_target(results, arm)["difference"].to_numpy()
        levels = stack(values, width)
        axis.scatter(np.round(values / width) * width, levels + 1, s=26, color=colour, linewidth=0)
        top = max(levels.max() + 2.2, 4.5)
        axis.axvline(0, color=INK, linestyle="--", linewidth=0.8)
        axis.axvline(threshold, color=INK, linestyle=":", linewidth=1)
        axis.text(0, top, "no change ", va="top", ha="right", fontsize=8)
        axis.text(threshold, top, f" threshold {number(threshold, signed=True)}", va="top", ha="left", fontsize=8)
        for entry in results.comparison["secondary"]:
            if entry["arm"] == arm and entry["class"] == "all" and entry["mean"] is not None:
                if entry["low"] is not None:  # one target has no interval
                    axis.plot([entry["low"], entry["high"]], [-0.6, -0.6], color=INK, linewidth=2)
                axis.scatter([entry["mean"]], [-0.6], marker="D", s=26, color=INK, zorder=3)
                label = f"  mean {number(entry['mean'], signed=True)}"
                axis.text(
                    entry["mean"] if entry["high"] is None else entry["high"], -0.6, label, va="center", fontsize=8
                )
        axis.set(ylim=(-1.6, top), yticks=[], title=f"{arm} minus baseline (n = {len(values)} targets)")
        axis.spines["left"].set_visible(False)
    # Room for the label of the threshold, often the rightmost thing.
    axes[-1, 0].set_xlim(low - 6 * width, high + 10 * width)
    axes[-1, 0].set_xlabel("TM-score difference")
    return figure


def classes(results: Results) -> Figure | None:
    arms = ["baseline", *results.headline_arms]
    groups = results.classes
    means = {(row["arm"], row["class"]): row["mean_tm"] for row in results.comparison["distribution"]}
    colours, random = arm_colours(results.headline_arms), np.random.default_rng(0)
    floor = results.chain_scores(FLOOR)["tm"]
    figure, axes = panels(1, 1, 3.1)
    axis, step = axes[0, 0], 0.8 / len(arms)
    for place, group in enumerate(groups):
        inside = floor.index.get_level_values("class") == group
        if inside.any():
            axis.hlines(floor[inside].mean(), place - 0.42, place + 0.42, color=INK, linestyle=":", linewidth=1.2)
            axis.text(place + 0.43, floor[inside].mean(), "floor", fontsize=7.5, va="center")
        for index, arm in enumerate(arms):
            scores = results.chain_scores(arm)["tm"]
            values = scores[scores.index.get_level_values("class") == group].dropna()
            centre = place + (index - (len(arms) - 1) / 2) * step
            spread = random.uniform(-0.22, 0.22, len(values)) * step
            axis.scatter(centre + spread, values, s=14, color=colours[arm], alpha=0.45, linewidth=0)
            mean = means.get((arm, group))
            if mean is not None:
                axis.hlines(mean, centre - 0.3 * step, centre + 0.3 * step, color=colours[arm], linewidth=2.5)
                axis.text(centre + 0.32 * step, mean, number(mean), color=colours[arm], va="center", weight="bold",
                          fontsize=7.5)  # fmt: skip
    sizes = [f"{group}\nn = {len(set(_members(results, group)))}" for group in groups]
    axis.set_xticks(range(len(groups)), sizes)
    axis.set_xlim(-0.5, len(groups) - 0.4)
    axis.set_ylim(bottom=0)
    axis.grid(axis="y")
    axis.set_ylabel("TM-score")
    axis.set_title("TM-score by difficulty class")
    key_below(figure, {arm: {"color": colours[arm]} for arm in arms})
    return figure


def training(results: Results) -> Figure | None:
    columns = {
        "loss": "training loss",
        "validation_loss": "validation loss",
        "validation_tm": "validation TM-score",
    }
    arms = list(dict.fromkeys(run.arm for run in results.tunings))
    colours = arm_colours(arms)
    figure, axes = panels(1, len(columns), 2.7)
    for axis, (column, label) in zip(axes[0], columns.items(), strict=True):
        for run in results.tunings:
            points = run.history[["step", column]].dropna()
            axis.plot(points["step"], points[column], color=colours[run.arm], linewidth=1.2, alpha=0.85,
                      marker="o" if column != "loss" else None, markersize=3)  # fmt: skip
        axis.set(xlabel="optimiser step", title=label)
        axis.grid(axis="y")
    # A narrower scale would make noise look like a trend.
    bottom, top = axes[0, -1].get_ylim()
    axes[0, -1].set_ylim(bottom, max(top, bottom + 0.05))
    key_below(figure, {f"{arm} ({_seeds(results, arm)})": {"color": colours[arm]} for arm in arms})
    return figure


def losses(results: Results) -> Figure | None:
    components = {
        "fape": "FAPE (clamp and scale 10 Å)",
        "confidence": "confidence (nats)",
        "contact": "contact (nats)",
    }
    runs = [run for run in results.tunings if run.arm == results.primary["arm"]]
    figure, axes = panels(1, len(components), 2.6)
    for axis, (column, label) in zip(axes[0], components.items(), strict=True):
        for run in runs:
            training, held_out = (run.history[["step", name]].dropna() for name in (column, f"validation_{column}"))
            axis.plot(training["step"], training[column], color=GREY, linewidth=0.6, alpha=0.8)
            axis.plot(held_out["step"], held_out[f"validation_{column}"], color=BLUE, linewidth=1.8)
        axis.set(xlabel="optimiser step", title=label)
        axis.grid(axis="y")
    figure.suptitle(f"arm {results.primary['arm']}, {_seeds(results, results.primary['arm'])}", x=0.01, ha="left",
                    fontsize=9)  # fmt: skip
    key_below(figure, {"training crops": {"color": GREY}, "validation chains": {"color": BLUE}})
    return figure


def confidence(results: Results) -> Figure | None:
    arms = ["baseline", *results.headline_arms]
    colours = arm_colours(results.headline_arms)
    figure, axes = panels(1, max(len(arms), 2), 3.4, sharex=True, sharey=True)
    figure.get_layout_engine().set(wspace=0.06)
    drawn = 0
    for axis, arm in zip(axes[0], arms, strict=False):
        points = results.chain_scores(arm)[["plddt", "lddt"]].dropna()
        drawn += len(points)
        axis.plot([0, 100], [0, 1], color=INK, linestyle="--", linewidth=0.8)
        axis.scatter(points["plddt"], points["lddt"], s=18, color=colours[arm], alpha=0.75, linewidth=0)
        axis.set(xlim=(0, 100), ylim=(0, 1), xlabel="pLDDT, mean of the chain (0–100)")
        axis.set_title(f"{arm} (n = {len(points)} targets)")
        axis.grid()
    axes[0, 0].set_ylabel("lDDT-CA (0–1)")
    for axis in axes[0, len(arms) :]:
        axis.remove()
    return figure if drawn else None


def _by_target(results: Results, arm: str) -> pd.DataFrame:
    columns = ["target", "class", "arm", "tm", "baseline", "difference"]
    table = pd.DataFrame(results.comparison["by_target"], columns=columns)
    return table[table["arm"] == arm].dropna(subset=["tm", "baseline"])


def _members(results: Results, group: str) -> pd.Series:
    scores = results.scores[(results.scores["unit"] == "chain") & (results.scores["arm"] == "baseline")]
    return scores.loc[scores["class"] == group, "target"]


def _seeds(results: Results, arm: str) -> str:
    number_of_seeds = sum(run.arm == arm for run in results.tunings)
    return f"{number_of_seeds} seed{'s' if number_of_seeds != 1 else ''}"

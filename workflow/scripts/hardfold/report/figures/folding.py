"""Figures of the folding track."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from hardfold.arms import FLOOR, MEMORISATION
from hardfold.difficulty import ALL
from hardfold.report.figures.style import (
    GREY,
    INK,
    PALE,
    WIDTH,
    arm_colours,
    keep_panels,
    key_below,
    panels,
    row_key,
    stack,
)
from hardfold.report.format import number
from hardfold.report.results import Results

# Above this many targets their names would not be readable beside the dots.
MOST_NAMED_TARGETS = 80
HIGHEST = 12  # dots on each other without overlap


def paired(results: Results) -> Figure | None:
    return _paired(results, results.primary["arm"])


def memorisation(results: Results) -> Figure | None:
    return _paired(results, MEMORISATION)


def _paired(results: Results, arm: str) -> Figure | None:
    rows = _known(results, arm).sort_values(["class", "baseline"], ignore_index=True)
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
    return _differences(results, results.headline_arms)


def controls(results: Results) -> Figure | None:
    return _differences(results, results.controls)


def _differences(results: Results, arms: list[str]) -> Figure | None:
    """One panel an arm: dots stacked by difference, mean and interval below."""
    arms = [arm for arm in arms if not _known(results, arm).empty]
    if not arms:
        return None
    everything = pd.concat([_known(results, arm) for arm in arms])["difference"]
    threshold = results.primary["min_improvement"]
    low, high = min(everything.min(), 0.0), max(everything.max(), threshold)
    width = (high - low) / 60
    stacks = {arm: stack(_known(results, arm)["difference"].to_numpy(), width) for arm in arms}
    # Where most targets do not move, their dots overlap.
    stacks = {arm: levels * min(1.0, HIGHEST / max(levels.max(), 1)) for arm, levels in stacks.items()}
    tops = [max(levels.max() + 2.2, 4.5) for levels in stacks.values()]
    # Equal dots in all panels: the height of each grows with its highest stack.
    figure, axes = panels(len(arms), 1, sum(0.75 + 0.115 * top for top in tops) + 0.4, sharex=True,
                          gridspec_kw={"height_ratios": [top + 1.6 for top in tops]})  # fmt: skip
    colours = arm_colours(results.config["folding"]["arms"])
    for axis, (arm, levels), top in zip(axes[:, 0], stacks.items(), tops, strict=True):
        values = _known(results, arm)["difference"].to_numpy()
        axis.scatter(np.round(values / width) * width, levels + 1, s=20, color=colours[arm], linewidth=0)
        axis.axvline(0, color=INK, linestyle="--", linewidth=0.8)
        axis.axvline(threshold, color=INK, linestyle=":", linewidth=1)
        entry = results.entry(arm)
        if entry["low"] is not None:  # one target has no interval
            axis.plot([entry["low"], entry["high"]], [-0.6, -0.6], color=INK, linewidth=2)
        axis.scatter([entry["mean"]], [-0.6], marker="D", s=22, color=INK, zorder=3)
        right = entry["mean"] if entry["high"] is None else entry["high"]
        axis.text(right, -0.6, f"  mean {number(entry['mean'], signed=True)}", va="center", fontsize=8)
        axis.set(ylim=(-1.6, top), yticks=[])
        axis.set_title(f"{arm} minus baseline (n = {len(values)} targets)", pad=3)
        axis.spines["left"].set_visible(False)
    first, place = axes[0, 0], axes[0, 0].get_xaxis_transform()
    first.text(0, 1, "no change ", va="top", ha="right", fontsize=8, transform=place)
    first.text(threshold, 1, f" threshold {number(threshold, signed=True)}", va="top", fontsize=8, transform=place)
    # Room for the label of the threshold, often the rightmost thing.
    axes[-1, 0].set_xlim(low - 8 * width, high + 13 * width)
    axes[-1, 0].set_xlabel("TM-score difference")
    return figure


def classes(results: Results) -> Figure | None:
    """A panel for the hard targets and each class: a row of dots an arm, its mean as a bar and in figures."""
    arms = ["baseline", *results.headline_arms]
    groups = {group: members for group, members in results.groups.items() if group != ALL}
    means = {(row["arm"], row["class"]): row["mean_tm"] for row in results.comparison["distribution"]}
    colours, random = arm_colours(results.config["folding"]["arms"]), np.random.default_rng(0)
    scores = {arm: results.chain_scores(arm)["tm"].dropna() for arm in arms}
    floor = results.chain_scores(FLOOR)["tm"]
    lines = -(-len(groups) // 2)
    figure, axes = panels(lines, min(len(groups), 2), 0.4 + lines * (0.55 + 0.24 * len(arms)), sharex=True, sharey=True)
    for axis, (group, members) in zip(axes.flat, groups.items(), strict=False):
        inside = floor[floor.index.isin(members, level="target")]
        if len(inside):
            axis.axvline(inside.mean(), color=INK, linestyle=":", linewidth=1.2)
        for row, arm in enumerate(arms):
            values = scores[arm][scores[arm].index.isin(members, level="target")]
            spread = random.uniform(-0.22, 0.22, len(values))
            axis.scatter(values, row + spread, s=12, color=colours[arm], alpha=0.5, linewidth=0)
            mean = means.get((arm, group))
            if mean is not None:
                axis.vlines(mean, row - 0.35, row + 0.35, color=colours[arm], linewidth=2.5)
                axis.text(1.01, row, number(mean), color=colours[arm], va="center", weight="bold", fontsize=7.5,
                          transform=axis.get_yaxis_transform())  # fmt: skip
        axis.set_yticks(range(len(arms)), arms)
        axis.tick_params(axis="y", length=0)
        axis.set_title(f"{group} (n = {len(members)})", pad=3)
        axis.grid(axis="x")
    axes[0, 0].set(xlim=(0, None), ylim=(len(arms) - 0.4, -0.6))
    for axis in keep_panels(axes, len(groups)):
        axis.set_xlabel("TM-score")
    key_below(figure, {"mean of the class (figures at the right)": {"linewidth": 2.5, "color": GREY},
                       "random walks: the floor": {"linestyle": ":", "linewidth": 1.2}})  # fmt: skip
    return figure


def _known(results: Results, arm: str) -> pd.DataFrame:
    return results.by_target(arm).dropna(subset=["tm", "baseline"])

"""Figures of the contact track."""

import h5py
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from hardfold.report.figures.style import GREY, INK, PALE, colour_key, experiment_colours, key_below, panels
from hardfold.report.format import number
from hardfold.report.results import Experiment, Results

RANGES = {"short": "short, 6–11", "medium": "medium, 12–23", "long": "long, ≥ 24"}


def precision(results: Results) -> Figure | None:
    table = results.summary.set_index("experiment").reindex([one.name for one in results.experiments])
    colours = experiment_colours(list(table.index))
    figure, axes = panels(1, len(RANGES), 1.2 + 0.28 * len(table), sharex=True, sharey=True)
    for axis, (span, label) in zip(axes[0], RANGES.items(), strict=True):
        key = f"p_at_l_{span}"
        rows = table.dropna(subset=[key])
        for name, row in rows.iterrows():
            place = table.index.get_loc(name)
            if {f"{key}_low", f"{key}_high"} <= set(table.columns):
                axis.hlines(place, row[f"{key}_low"], row[f"{key}_high"], color=colours[name], linewidth=2)
            axis.scatter([row[key]], [place], s=26, color=colours[name], zorder=3)
            axis.text(row[key], place - 0.22, number(row[key]), ha="center", va="bottom", fontsize=7)
        axis.set(title=label, xlabel="P@L (fraction)")
        axis.grid(axis="x")
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(table)), table.index)
    axes[0, 0].set_ylim(len(table) - 0.5, -0.8)
    axes[0, 0].set_xlim(0, 1.05 * axes[0, 0].get_xlim()[1])
    figure.suptitle(f"Precision of the L highest-scored pairs by range ({_proteins(results)})", x=0.01, ha="left",
                    fontsize=9)  # fmt: skip
    return figure


def curves(results: Results) -> Figure | None:
    colours = experiment_colours([one.name for one in results.experiments])
    areas = results.summary.set_index("experiment")
    figure, axes = panels(1, 2, 3.5)
    roc, pr = axes[0]
    for one in results.experiments:
        drawn = one.metrics["curves"]
        # A curve is null where no protein has both contacts and other pairs.
        if drawn["roc"]["tpr"] is not None:
            roc.plot(drawn["roc"]["fpr"], drawn["roc"]["tpr"], color=colours[one.name])
            pr.plot(drawn["pr"]["recall"], drawn["pr"]["precision"], color=colours[one.name])
    roc.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.8)
    pr.axhline(areas["base_rate"].mean(), color=INK, linestyle="--", linewidth=0.8)
    step = 0.06
    for axis, key, top in ((roc, "roc_auc", step * (len(colours) + 1)), (pr, "pr_auc", 1 - step)):
        entries = {f"{name}  {number(areas[key].get(name))}": colour for name, colour in colours.items()}
        colour_key(axis, {"area under curve": INK} | entries, 0.64, top, step, fontsize=7.5, weight="bold")
        axis.grid()
    roc.set(xlim=(0, 1), ylim=(0, 1), xlabel="false positive rate", ylabel="true positive rate")
    pr.set(xlim=(0, 1), ylim=(0, None), xlabel="recall", ylabel="precision")
    roc.set_title(f"ROC ({_proteins(results)})")
    pr.set_title(f"precision and recall ({_proteins(results)})")
    return figure


def training(results: Results) -> Figure | None:
    columns = min(3, len(results.experiments))
    rows = -(-len(results.experiments) // columns)
    colours = experiment_colours([one.name for one in results.experiments])
    figure, axes = panels(rows, columns, 0.8 + 1.75 * rows, sharex=True, sharey=True)
    for axis, one in zip(axes.flat, results.experiments, strict=False):
        history, colour = one.history, colours[one.name]
        axis.plot(history["epoch"], history["train_contact"], color=colour, linestyle="--", linewidth=1)
        axis.plot(history["epoch"], history["validation_contact"], color=colour)
        kept = history[history["epoch"] == one.training["best_epoch"]]
        axis.scatter(kept["epoch"], kept["validation_contact"], s=26, color=colour, zorder=3)
        axis.set_title(f"{one.name}, epoch {one.training['best_epoch']} of {one.training['epochs']} kept")
        axis.grid(axis="y")
    for axis in axes.flat[len(results.experiments) :]:
        axis.remove()
    axes[0, 0].xaxis.get_major_locator().set_params(integer=True)
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    key_below(
        figure,
        {
            "training": {"linestyle": "--", "linewidth": 1},
            "validation": {},
            "weights kept": {"linestyle": "none", "marker": "o"},
        },
    )
    figure.supylabel("contact loss (nats, weighted BCE)", fontsize=8.5)
    return figure


def maps(results: Results) -> Figure | None:
    """Best, median and worst protein of the experiment with the highest long-range P@L."""
    ranked = results.summary.dropna(subset=["p_at_l_long"]).sort_values("p_at_l_long", kind="stable")
    names = {one.name: one for one in results.experiments}
    if ranked.empty:
        return None
    one = names[ranked["experiment"].iloc[-1]]
    chosen = extremes(one)
    if not chosen:
        return None
    figure, axes = panels(1, len(chosen), 3.1)
    with h5py.File(one.predictions) as predictions, h5py.File(results.test_set) as test_set:
        for axis, (label, protein) in zip(axes[0], chosen.items(), strict=True):
            predicted = predictions[protein["chain"]]["contact_probability"][:].astype(float)
            native = test_set["chains"][protein["chain"]]["contact_map"][:]
            image = _draw_map(axis, predicted, native)
            axis.set_title(f"{label}: {protein['chain']}\nP@L long {number(protein['p_at_l_long'])}")
            axis.set_xlabel("residue")
    axes[0, 0].set_ylabel("residue")
    figure.colorbar(image, ax=list(axes[0]), label="predicted probability", shrink=0.7, pad=0.01)
    figure.suptitle(f"{one.name}: predicted above, native below the diagonal ({_proteins(results)} ranked)",
                    x=0.01, ha="left", fontsize=9)  # fmt: skip
    return figure


def extremes(one: Experiment) -> dict[str, dict]:
    """Best, median and worst protein by long-range P@L; fewer where there are fewer."""
    proteins = [protein for protein in one.metrics["by_protein"] if protein.get("p_at_l_long") is not None]
    proteins.sort(key=lambda protein: (-protein["p_at_l_long"], protein["chain"]))
    places = {"best": 0, "median": len(proteins) // 2, "worst": len(proteins) - 1}
    if len(proteins) < len(places):
        places = {"best": 0, "worst": 1} if len(proteins) == 2 else dict.fromkeys(["only"][: len(proteins)], 0)
    return {label: proteins[place] for label, place in places.items()}


def _draw_map(axis, predicted: np.ndarray, native: np.ndarray):
    """predicted (L, L) probabilities above the diagonal, native (L, L) 0, 1, 255 below it."""
    upper = np.triu(np.ones_like(native, dtype=bool), 1)
    extent = (0.5, len(native) + 0.5, len(native) + 0.5, 0.5)
    image = axis.imshow(np.where(upper, predicted, np.nan), cmap="Blues", vmin=0, vmax=1, extent=extent)
    below = np.where(upper, np.nan, np.select([native == 1, native == 255], [1.0, 0.5], 0.0))
    axis.imshow(below, cmap=ListedColormap(["white", PALE, INK]), vmin=0, vmax=1, extent=extent)
    axis.plot([0.5, len(native) + 0.5], [0.5, len(native) + 0.5], color=GREY, linewidth=0.7)
    for spine in axis.spines.values():
        spine.set_visible(True)
    return image


def reliability(results: Results) -> Figure | None:
    colours = experiment_colours([one.name for one in results.experiments])
    columns = min(3, len(results.experiments))
    rows = -(-len(results.experiments) // columns)
    figure, axes = panels(rows, columns, 0.5 + 2.2 * rows, sharex=True, sharey=True)
    for axis, one in zip(axes.flat, results.experiments, strict=False):
        bins = one.metrics["reliability"]
        counts = np.array(bins["count"], dtype=float)
        filled = counts > 0
        predicted, observed = (np.array(bins[key], dtype=float)[filled] for key in ("predicted", "observed"))
        axis.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=0.8)
        axis.plot(predicted, observed, color=colours[one.name], linewidth=1)
        axis.scatter(predicted, observed, s=8 * np.log10(1 + counts[filled]), color=colours[one.name], zorder=3)
        axis.set(xlim=(0, 1), ylim=(0, 1), title=f"{one.name}, {int(counts.sum()):,} pairs")
        axis.grid()
    for axis in axes.flat[len(results.experiments) :]:
        axis.remove()
    figure.supxlabel("predicted contact probability", fontsize=8.5)
    figure.supylabel("observed frequency of contacts", fontsize=8.5)
    return figure


def _proteins(results: Results) -> str:
    return f"n = {results.experiments[0].metrics['proteins']} proteins"

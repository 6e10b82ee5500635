"""Figures of the predicted structures: errors along the chain, distance maps, confidence."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist

from hardfold.report.figures.style import GREY, INK, PALE, arm_colours, keep_panels, key_below, panels
from hardfold.report.format import count, number
from hardfold.report.results import Results
from hardfold.report.tables.confidence import known_chains, known_residues, reliability
from hardfold.structure.parse import read_model

STEP = 20  # of pLDDT, where the scale of its figure may end
FAR = 30.0  # angstrom, the end of the maps' scale


def examples(results: Results) -> dict[str, dict]:
    """Targets to look at, chosen by the primary arm's difference alone: the largest gain, the median, the largest loss;
    fewer where there are fewer. Label -> row of by_target.
    """
    rows = results.by_target(results.primary["arm"]).dropna(subset=["difference"])
    rows = rows.sort_values(["difference", "target"], ascending=[False, True]).to_dict("records")
    places = {"highest difference": 0, "median": len(rows) // 2, "lowest difference": len(rows) - 1}
    unique = {place: label for label, place in reversed(places.items()) if 0 <= place < len(rows)}
    return {unique[place]: rows[place] for place in sorted(unique)}


def errors(results: Results) -> Figure | None:
    """CA errors along the chain, baseline and primary arm, the latter's seeds as a band."""
    chosen = examples(results)
    if not chosen:
        return None
    arm = results.primary["arm"]
    colours = arm_colours(results.config["folding"]["arms"])
    figure, axes = panels(len(chosen), 1, 0.5 + 1.55 * len(chosen))
    for axis, (label, row) in zip(axes[:, 0], chosen.items(), strict=True):
        own = results.residues[results.residues["target"] == row["target"]]
        for name in ("baseline", arm):
            seeds = own[own["arm"] == name].pivot(index="position", columns="seed", values="error")
            seeds = seeds.reindex(range(1, int(own["position"].max()) + 1))  # gaps where the native is unresolved
            axis.fill_between(seeds.index, seeds.min(axis=1), seeds.max(axis=1), color=colours[name], alpha=0.25,
                              linewidth=0)  # fmt: skip
            axis.plot(seeds.index, seeds.mean(axis=1), color=colours[name], linewidth=1.3)
        axis.set(xlim=(1, len(seeds)), ylim=(0, None))
        axis.set_title(_title(label, row), pad=3)
        axis.grid(axis="y")
    figure.supylabel("CA error (Å)", fontsize=8.5)
    axes[-1, 0].set_xlabel("residue")
    key_below(figure, {"baseline": {"color": GREY}, f"{arm}, mean and range of its seeds": {"color": colours[arm]}})
    return figure


def maps(results: Results) -> Figure | None:
    """CA-CA distances, predicted above the diagonal, native below it: the baseline and a run of the primary arm."""
    chosen = examples(results)
    if not chosen:
        return None
    runs = [("baseline", 0), (results.primary["arm"], min(results.config["folding"]["seeds"]))]
    figure, axes = panels(len(runs), len(chosen), 4.7)
    for column, (label, row) in zip(axes.T, chosen.items(), strict=True):
        native = _distances(results.native(row["target"]))
        extent = (0.5, len(native) + 0.5, len(native) + 0.5, 0.5)
        upper = np.triu(np.ones_like(native, dtype=bool), 1)
        for axis, (arm, seed) in zip(column, runs, strict=True):
            predicted = _distances(results.prediction(arm, seed, row["target"]))
            axis.set_facecolor(PALE)
            image = axis.imshow(np.where(upper, predicted[: len(native), : len(native)], native), cmap="viridis_r",
                                vmin=0, vmax=FAR, extent=extent)  # fmt: skip
            axis.plot(extent[:2], extent[:2], color="white", linewidth=0.8)
        column[0].set_title(_title(label, row).replace(": ", ":\n", 1), pad=4)
        column[-1].set_xlabel("residue")
    for axis, (arm, seed) in zip(axes[:, 0], runs, strict=True):
        axis.set_ylabel(arm if arm == "baseline" else f"{arm}, seed {seed}")
    figure.colorbar(image, ax=list(axes.flat), label="CA–CA distance (Å)", extend="max", shrink=0.6, pad=0.01)
    return figure


def confidence(results: Results) -> Figure | None:
    """Chains as dots, and residues in bins of pLDDT, an arm a panel, all panels on the scale that they need."""
    every = {arm: known_chains(results, arm) for arm in ("baseline", *results.headline_arms)}
    arms = [arm for arm, chains in every.items() if len(chains)]
    if not arms:
        return None
    bins = {arm: reliability(known_residues(results, arm)) for arm in arms}
    points = pd.concat([table[["plddt", "lddt"]] for arm in arms for table in (every[arm], bins[arm])])
    end = min(STEP * (points.mul([1, 100]).max(axis=None) // STEP + 1), 100)
    colours = arm_colours(results.config["folding"]["arms"])
    lines = -(-len(arms) // 3)
    figure, axes = panels(lines, min(max(len(arms), 2), 3), 2.7 * lines + 0.3, sharex=True, sharey=True)
    for axis, arm in zip(axes.flat, arms, strict=False):
        chains = every[arm]
        axis.plot([0, 100], [0, 1], color=INK, linestyle="--", linewidth=0.8)
        axis.scatter(chains["plddt"], chains["lddt"], s=12, color=colours[arm], alpha=0.55, linewidth=0)
        axis.plot(bins[arm]["plddt"], bins[arm]["lddt"], color=INK, linewidth=1.1, marker="s", markersize=3)
        axis.set(xlim=(0, end), ylim=(0, end / 100))
        axis.set_title(f"{arm}\n(n = {count(len(chains))} targets)")
        axis.grid()
    for axis in keep_panels(axes, len(arms)):
        axis.set_xlabel("pLDDT (0–100)")
    for axis in axes[:, 0]:
        axis.set_ylabel("lDDT-CA (0–1)")
    key_below(figure, {"chains": {"color": GREY, "marker": "o", "linestyle": "", "markersize": 4},
                       "residues, in bins of pLDDT": {"color": INK, "marker": "s", "markersize": 3, "linewidth": 1.1},
                       "calibrated": {"color": INK, "linestyle": "--", "linewidth": 0.8}})  # fmt: skip
    return figure


def _distances(path) -> np.ndarray:
    """(L, L) CA-CA distances, angstrom, NaN where absent."""
    points = read_model(path).coordinates[:, 1]
    return cdist(points, points)


def _title(label: str, row: dict) -> str:
    return f"{label}: {row['target']}, TM {number(row['baseline'])} → {number(row['tm'])}"

"""Figures of the data: alignment depth and the leakage audit."""

import numpy as np
from matplotlib.figure import Figure

from hardfold.report.bands import BANDS, by_band
from hardfold.report.figures.style import BLUE, GREY, INK, PALE, panels
from hardfold.report.results import Results

SPLITS = ["train", "validation", "test", "target"]


def depth(results: Results) -> Figure | None:
    neff = results.alignments.merge(results.assignment[["chain", "split"]], on="chain").dropna(subset=["neff"])
    neff = neff[neff["split"].isin(SPLITS)]
    if neff.empty:
        return None
    edges = np.geomspace(1, max(neff["neff"].max(), 10) * 1.01, 25)
    figure, axes = panels(len(SPLITS), 1, 4.2, sharex=True)
    for axis, split in zip(axes[:, 0], SPLITS, strict=True):
        values = neff.loc[neff["split"] == split, "neff"].clip(lower=1)
        axis.hist(values, bins=edges, color=BLUE, edgecolor="white", linewidth=0.5)
        axis.set_xscale("log")
        median = f", median {values.median():.1f}" if len(values) else ""
        axis.set_title(f"{split} (n = {len(values)}{median})", pad=3)
        axis.yaxis.get_major_locator().set_params(integer=True, nbins=3)
        if median:
            axis.axvline(values.median(), color=INK, linewidth=1)
    axes[-1, 0].set_xticks([tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000) if tick <= edges[-1]])
    axes[-1, 0].xaxis.set_major_formatter("{x:g}")
    axes[-1, 0].minorticks_off()
    axes[-1, 0].set_xlabel("Neff (effective sequences, log scale)")
    figure.supylabel("chains", fontsize=8.5)
    return figure


def identity(results: Results) -> Figure | None:
    splits = [split for split in SPLITS if (results.audit["split"] == split).any()]
    if not splits:
        return None
    figure, axes = panels(1, len(splits), 2.6, sharey=True)
    places = np.arange(len(BANDS))
    for axis, split in zip(axes[0], splits, strict=True):
        rows = results.audit[results.audit["split"] == split]
        most = 0
        for offset, when, colour in ((-0.2, "before", PALE), (0.2, "after", BLUE)):
            counts = list(by_band(rows, when).values())
            most = max(most, *counts)
            axis.barh(places + offset, counts, height=0.38, color=colour)
            for place, n in zip(places, counts, strict=True):
                axis.text(n, place + offset, f" {n}", va="center", fontsize=7, color=GREY if when == "before" else INK)
        axis.set_title(f"{split} (n = {len(rows)})")
        axis.set_xlim(0, most * 1.18)
        axis.set_xlabel("chains")
        axis.tick_params(axis="y", length=0)
        axis.xaxis.get_major_locator().set_params(integer=True, nbins=4)
    axes[0, 0].set_yticks(places, BANDS)
    axes[0, 0].set_ylim(len(BANDS) - 0.4, -0.6)
    axes[0, 0].set_ylabel("nearest training identity (%)")
    handles = [axes[0, 0].barh([0], [0], color=colour) for colour in (PALE, BLUE)]
    figure.legend(handles, ["before dropping", "after dropping"], loc="outside lower left", ncols=2, frameon=False)
    return figure

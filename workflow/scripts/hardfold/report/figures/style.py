"""One look for all figures: palette, sizes, helpers; saved without dates so that equal input gives equal files."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hardfold.arms import MEMORISATION
from hardfold.tables import whole_file

WIDTH = 7.2  # inches
DPI = 160

# Okabe and Ito's palette, safe for the colour blind; greys for what others are compared with.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
OLIVE, BROWN, WINE = "#999933", "#8C564B", "#882255"  # OLIVE and WINE of Tol's muted palette
CYCLE = [BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, OLIVE]
INK, GREY, PALE = "#222222", "#8A8A8A", "#D9D9D9"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 8.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": "#EBEBEB",
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "text.color": INK,
    "figure.facecolor": "white",
}


def arm_colours(arms: list[str]) -> dict[str, str]:
    """Arm -> colour, by its place: vermilion is kept for memorisation, grey for the baseline."""
    rest = iter([BLUE, GREEN, ORANGE, PURPLE, SKY, OLIVE, BROWN, WINE] * len(arms))
    return {"baseline": GREY} | {arm: VERMILION if arm == MEMORISATION else next(rest) for arm in arms}


def experiment_colours(names: list[str]) -> dict[str, str]:
    return {name: CYCLE[index % len(CYCLE)] for index, name in enumerate(names)}


def baseline_styles(names: list[str]) -> dict[str, dict]:
    """Line options of the contact baselines: thin greys, told apart by their dashes."""
    dashes = ["-", "--", ":", "-.", (0, (6, 2, 1, 2, 1, 2))]
    shades = ["#555555", GREY]
    return {
        name: {"color": shades[index % 2], "linestyle": dashes[index % len(dashes)], "linewidth": 0.9}
        for index, name in enumerate(names)
    }


def panels(rows: int, columns: int, height: float, **options) -> tuple[Figure, np.ndarray]:
    """A figure of the report's width and an array (rows, columns) of axes."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def keep_panels(axes: np.ndarray, used: int) -> list[Axes]:
    """Remove the panels beyond `used`; the lowest left in each column show their ticks' labels and are returned."""
    for axis in axes.flat[used:]:
        axis.remove()
    lowest = list(axes.flat[max(0, used - axes.shape[1]) : used])
    for axis in lowest:
        axis.tick_params(labelbottom=True)
    return lowest


def row_key(axes: Axes, entries: dict[str, str]) -> None:
    """Coloured words in a row just above the axes."""
    place = {"xy": (0, 1), "xycoords": "axes fraction", "xytext": (0, 2)}
    for label, colour in entries.items():
        word = axes.annotate(label, **place, textcoords="offset points", color=colour, va="bottom")
        place = {"xy": (1, 0), "xycoords": word, "xytext": (12, 0)}


def key_below(figure: Figure, entries: dict[str, dict], columns: int | None = None) -> None:
    """A legend below the panels: label -> line options; in one row unless `columns` says otherwise."""
    handles = [Line2D([], [], **{"linewidth": 2, "color": INK} | options) for options in entries.values()]
    figure.legend(handles, entries, loc="outside lower left", ncols=columns or len(entries), frameon=False,
                  handlelength=1.8)  # fmt: skip


def stack(values: np.ndarray, width: float) -> np.ndarray:
    """Level of each value's dot in a dot plot whose bins are `width` wide: 0 for the first in a bin, then 1, 2 ..."""
    levels, filled = np.zeros(len(values)), {}
    for index in np.argsort(values, kind="stable"):
        place = round(float(values[index]) / width)
        levels[index] = filled.get(place, 0)
        filled[place] = filled.get(place, 0) + 1
    return levels


def save(figure: Figure, path: Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def with_style():
    return matplotlib.rc_context(STYLE)

"""Figures of what the folding arms' training did: curves of fine-tuning, steps of adaptation at test time."""

from matplotlib.figure import Figure

from hardfold.arms import ORACLE, TEST_TIME
from hardfold.report.figures.style import BLUE, GREY, INK, arm_colours, key_below, panels
from hardfold.report.format import number
from hardfold.report.results import Results
from hardfold.report.tables.test_time import all_steps


def training(results: Results) -> Figure | None:
    columns = {
        "loss": "training loss",
        "validation_loss": "validation loss",
        "validation_tm": "validation TM-score",
    }
    arms = list(dict.fromkeys(run.arm for run in results.tunings))
    colours = arm_colours(results.config["folding"]["arms"])
    figure, axes = panels(1, len(columns), 2.6 + 0.17 * -(-len(arms) // 3))
    for axis, (column, label) in zip(axes[0], columns.items(), strict=True):
        for run in results.tunings:
            points = run.history[["step", column]].dropna()
            axis.plot(points["step"], points[column], color=colours[run.arm], linewidth=1.0, alpha=0.8,
                      marker="o" if column != "loss" else None, markersize=3)  # fmt: skip
        axis.set(xlabel="optimiser step", title=label)
        axis.grid(axis="y")
    # A narrower scale would make noise look like a trend.
    bottom, top = axes[0, -1].get_ylim()
    margin = max(0, 0.05 - (top - bottom)) / 2
    axes[0, -1].set_ylim(bottom - margin, top + margin)
    key_below(figure, {f"{arm} ({_seeds(results, arm)})": {"color": colours[arm]} for arm in arms}, columns=3)
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


def adaptation(results: Results) -> Figure | None:
    """Each target's TM-score, pLDDT and perplexity against the step, means over seeds; what was chosen, and the oracle
    beyond a line of its own.
    """
    if not results.adaptations:
        return None
    by_step = all_steps(results).groupby(["step", "target"])[["tm", "plddt", "perplexity"]].mean().unstack("target")
    labels = {"tm": "TM-score minus that of step 0", "plddt": "pLDDT minus that of step 0"}
    labels["perplexity"] = "perplexity, held-out"
    known = [name for name in labels if by_step[name].notna().any(axis=None)]
    colours = arm_colours(results.config["folding"]["arms"])
    figure, axes = panels(1, len(known), 3.0, gridspec_kw={"width_ratios": [1.7, 1, 1][-len(known) :]})
    for axis, name in zip(axes[0], known, strict=True):
        values = by_step[name] if name == "perplexity" else by_step[name] - by_step[name].loc[0]
        axis.plot(values.index, values, color=GREY, linewidth=0.6, alpha=0.45)
        axis.plot(values.index, values.mean(axis=1), color=colours[TEST_TIME], linewidth=2.2, marker="o", markersize=4)
        axis.set(xlabel="step of adaptation", title=f"{labels[name]}\n(n = {values.shape[1]} targets)")
        axis.grid(axis="y")
    if "tm" in known:
        _beside(axes[0, 0], results, by_step.index.max(), colours)
    key_below(figure, {"a target, mean over seeds": {"color": GREY, "linewidth": 0.8},
                       "mean over targets": {"color": colours[TEST_TIME]}})  # fmt: skip
    return figure


def _beside(axis, results: Results, last: float, colours: dict[str, str]) -> None:
    """Right of the steps: the arm's differences as chosen, and the oracle's, means and intervals."""
    axis.axhline(0, color=INK, linestyle="--", linewidth=0.8)
    axis.axvline(1.1 * last, color=GREY, linewidth=0.7)
    ticks = [*axis.get_xticks()[(axis.get_xticks() >= 0) & (axis.get_xticks() <= last)]]
    names = [f"{tick:g}" for tick in ticks]
    for place, (arm, label) in zip((1.3, 1.75), ((TEST_TIME, "chosen"), (ORACLE, "oracle")), strict=True):
        entry = results.entry(arm)
        if entry["low"] is not None:
            axis.vlines(place * last, entry["low"], entry["high"], color=INK, linewidth=2)
        axis.scatter([place * last], [entry["mean"]], marker="D", s=24, color=colours[arm], edgecolor=INK, zorder=3)
        top = entry["mean"] if entry["high"] is None else entry["high"]
        axis.annotate(number(entry["mean"], 4, signed=True), (place * last, top), (0, 5), textcoords="offset points",
                      ha="center", fontsize=7.5)  # fmt: skip
        ticks, names = [*ticks, place * last], [*names, label]
    axis.set_xticks(ticks, names)
    axis.set_xlim(right=2.05 * last)


def _seeds(results: Results, arm: str) -> str:
    seeds = len({run.seed for run in results.tunings if run.arm == arm})
    return f"{seeds} seed{'s' if seeds != 1 else ''}"

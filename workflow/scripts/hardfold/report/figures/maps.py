"""Figures of what the contact experiments predict: contact maps, distances, backbone angles."""

import h5py
import numpy as np
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

from hardfold.leakage import SCORED
from hardfold.report.figures.style import GREY, INK, PALE, experiment_colours, key_below, panels
from hardfold.report.format import count, number
from hardfold.report.results import Experiment, Results, best


def maps(results: Results) -> Figure | None:
    """Best, median and worst test protein of the experiment that is best on validation."""
    one = results.best
    chosen = extremes(one) if one else {}
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
    proteins = one.metrics["test"]["proteins"]
    figure.suptitle(f"{one.name}: predicted above, native below the diagonal ({proteins} test proteins ranked)",
                    x=0.01, ha="left", fontsize=9)  # fmt: skip
    return figure


def extremes(one: Experiment) -> dict[str, dict]:
    """Best, median and worst test protein by long-range P@L; fewer where there are fewer."""
    proteins = [protein for protein in one.metrics["test"]["by_protein"] if protein["p_at_l_long"] is not None]
    proteins.sort(key=lambda protein: (-protein["p_at_l_long"], protein["chain"]))
    places = {"best": 0, "median": len(proteins) // 2, "worst": len(proteins) - 1}
    if len(proteins) < len(places):
        places = {"best": 0, "worst": 1} if len(proteins) == 2 else dict.fromkeys(["only"][: len(proteins)], 0)
    return {label: proteins[place] for label, place in places.items()}


def _draw_map(axis, predicted: np.ndarray, native: np.ndarray):
    """predicted (L, L) probabilities above the diagonal, NaN where unseen; native (L, L) 0, 1, 255 below it."""
    upper = np.triu(np.ones_like(native, dtype=bool), 1)
    extent = (0.5, len(native) + 0.5, len(native) + 0.5, 0.5)
    axis.set_facecolor(PALE)
    image = axis.imshow(np.where(upper, predicted, np.nan), cmap="Blues", vmin=0, vmax=1, extent=extent)
    below = np.where(upper, np.nan, np.select([native == 1, native == 255], [1.0, 0.5], 0.0))
    axis.imshow(below, cmap=ListedColormap(["white", PALE, INK]), vmin=0, vmax=1, extent=extent)
    axis.plot([0.5, len(native) + 0.5], [0.5, len(native) + 0.5], color=GREY, linewidth=0.7)
    for spine in axis.spines.values():
        spine.set_visible(True)
    return image


def distance_errors(results: Results) -> Figure | None:
    """Absolute and signed error in bins of the true distance, test chains and targets pooled pair by pair."""
    pooled = {one.name: pool([one.metrics[split]["distance_error"] for split in SCORED])
              for one in results.experiments}  # fmt: skip
    pooled = {name: errors for name, errors in pooled.items() if errors}
    if not pooled:
        return None
    colours = experiment_colours([one.name for one in results.experiments])
    figure, axes = panels(1, 2, 3.3, sharex=True)
    for axis, key, label in zip(
        axes[0], ("mae", "bias"), ("mean absolute error (Å)", "mean error, predicted − true (Å)"), strict=True
    ):
        for name, errors in pooled.items():
            axis.plot(errors["true"], errors[key], color=colours[name], marker="o", markersize=2.5)
        for limit in {one.options["max_distance"] for one in results.experiments if one.name in pooled}:
            axis.axvline(limit, color=GREY, linestyle=":", linewidth=1)
        axis.set(xlabel="true distance (Å, bins of 2 Å)", ylabel=label)
        axis.grid()
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].axhline(0, color=INK, linestyle="--", linewidth=0.8)
    limit = {"max_distance": {"color": GREY, "linestyle": ":", "linewidth": 1}}
    key_below(figure, {name: {"color": colours[name]} for name in pooled} | limit)
    return figure


def pool(sections: list[dict | None]) -> dict[str, np.ndarray] | None:
    """The splits' errors by bin as one: means weighted by the pairs of each; NaN in bins without any."""
    parts = [{key: np.array(values, dtype=float) for key, values in part.items()} for part in sections if part]
    if not parts:
        return None
    counts = sum(part["count"] for part in parts)
    pooled = {"true": parts[0]["true"], "count": counts}
    for key in ("mae", "bias"):
        totals = sum(np.nan_to_num(part[key]) * part["count"] for part in parts)
        pooled[key] = np.divide(totals, counts, out=np.full_like(counts, np.nan), where=counts > 0)
    return pooled


def ramachandran(results: Results) -> Figure | None:
    """Of the best experiment that predicts angles: the density of (phi, psi) as predicted and as they are."""
    one = best([one for one in results.experiments if one.options["use_angle"]])
    if one is None:
        return None
    predicted, true = residue_angles(one, results.test_set)
    if not len(true):
        return None
    edges = np.linspace(-180, 180, 37)
    densities = {
        label: np.histogram2d(*np.degrees(angles).T, bins=edges)[0] / len(angles)
        for label, angles in ((f"predicted, {one.name}", predicted), ("true", true))
    }
    figure, axes = panels(1, 2, 3.5, sharex=True, sharey=True)
    norm = LogNorm(1 / len(true), max(density.max() for density in densities.values()))
    for axis, (label, density) in zip(axes[0], densities.items(), strict=True):
        image = axis.imshow(np.where(density, density, np.nan).T, norm=norm, cmap="Blues", origin="lower",
                            extent=(-180, 180, -180, 180))  # fmt: skip
        axis.axhline(0, color=PALE, linewidth=0.7, zorder=0)
        axis.axvline(0, color=PALE, linewidth=0.7, zorder=0)
        axis.set(title=f"{label} (n = {count(len(true))} residues)", xlabel="φ (°)")
        axis.set_xticks(range(-180, 181, 60))
        axis.set_yticks(range(-180, 181, 60))
        for spine in axis.spines.values():
            spine.set_visible(True)
    axes[0, 0].set_ylabel("ψ (°)")
    figure.colorbar(image, ax=list(axes[0]), label="share of residues (log scale)", shrink=0.8, pad=0.01)
    return figure


def residue_angles(one: Experiment, test_set) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) predicted and (N, 2) true phi and psi in radians, of the test residues that have all four."""
    pairs = []
    with h5py.File(one.predictions) as predictions, h5py.File(test_set) as chains:
        for protein in one.metrics["test"]["by_protein"]:
            chain = protein["chain"]
            pairs.append(np.hstack([predictions[chain]["angles"][:], chains["chains"][chain]["angle_map"][:]]))
    angles = np.concatenate(pairs) if pairs else np.empty((0, 4))
    angles = angles[np.isfinite(angles).all(axis=1)]
    return angles[:, :2], angles[:, 2:]

"""pLDDT beside lDDT-CA, of whole chains and of residues."""

import numpy as np
import pandas as pd

from hardfold.report.format import count, markdown_table, number
from hardfold.report.results import Results

BINS = np.arange(0, 101, 10)  # of pLDDT


def confidence(results: Results) -> str:
    """Means of chains with their correlation; of residues the correlation and the calibration error, each the mean of
    the seeds' own.
    """
    rows = []
    for arm in ["baseline", *results.headline_arms]:
        chains = known_chains(results, arm)
        residues = [part for _, part in known_residues(results, arm).groupby("seed")]
        cells = [count(len(chains)), number(chains["plddt"].mean(), 1), number(chains["lddt"].mean())]
        cells += [number((chains["plddt"] / 100 - chains["lddt"]).mean(), signed=True), number(correlation(chains))]
        cells += [count(len(residues[0]) if residues else 0)]
        for measure in (correlation, calibration_error):
            values = [value for value in map(measure, residues) if value is not None]
            cells.append(number(np.mean(values) if values else None))
        rows.append([arm, *cells])
    header = ["arm", "targets", "mean pLDDT", "mean lDDT", "pLDDT/100 − lDDT", "Pearson r (chains)"]
    return markdown_table([*header, "residues", "Pearson r (residues)", "calibration error (residues)"], rows)


def known_chains(results: Results, arm: str) -> pd.DataFrame:
    """pLDDT and lDDT of an arm's chains that have both, means over seeds."""
    return results.chain_scores(arm)[["plddt", "lddt"]].dropna()


def known_residues(results: Results, arm: str) -> pd.DataFrame:
    """Rows of `residues` of an arm that have both pLDDT and lDDT."""
    return results.residues[results.residues["arm"] == arm].dropna(subset=["plddt", "lddt"])


def correlation(points: pd.DataFrame) -> float | None:
    """Pearson's r; None of fewer than three points, or where one of the two does not vary."""
    varies = len(points) > 2 and points[["plddt", "lddt"]].nunique().min() > 1
    return float(points["plddt"].corr(points["lddt"])) if varies else None


def reliability(residues: pd.DataFrame) -> pd.DataFrame:
    """By bin of pLDDT that has residues: their number `n`, and the means of `plddt` and `lddt`."""
    bins = pd.cut(residues["plddt"], BINS, include_lowest=True)
    parts = residues.groupby(bins, observed=True)
    return pd.DataFrame({"n": parts.size(), "plddt": parts["plddt"].mean(), "lddt": parts["lddt"].mean()})


def calibration_error(residues: pd.DataFrame) -> float | None:
    """Expected calibration error (Naeini et al. 2015): |mean pLDDT / 100 - mean lDDT| of ten bins, weighted by size."""
    if residues.empty:
        return None
    bins = reliability(residues)
    return float(np.average((bins["plddt"] / 100 - bins["lddt"]).abs(), weights=bins["n"]))

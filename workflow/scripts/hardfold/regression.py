"""From attention maps to contacts, as ESM's contact heads do it (Rao et al. 2021, doi:10.1101/2020.12.15.422761).

P maps, L residues.
"""

from collections.abc import Iterable

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from hardfold.contacts import pairs_in
from hardfold.geometry import UNRESOLVED

PAIRS = 5000  # of a chain at most: 20 chains and the 660 maps of ESM-2's 33 layers x 20 heads are fitted in 3 GB
_L1 = 0.15  # lambda


def fit_contacts(cases: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, float]:
    """(weight (P,), bias) of an L1 logistic regression on the resolved pairs, |i-j| >= 6, of each case: maps (P, L, L),
    contact map (L, L). Of a case with more than PAIRS so many are drawn, always the same ones."""
    features, labels = [], []
    for maps, contact_map in cases:
        i, j = pairs_in(len(contact_map))
        chosen = np.flatnonzero(contact_map[i, j] != UNRESOLVED)
        if len(chosen) > PAIRS:
            chosen = np.random.default_rng(0).choice(chosen, PAIRS, replace=False)
        i, j = i[chosen], j[chosen]
        features.append(maps[:, i, j].T.astype(np.float32))
        labels.append(contact_map[i, j] == 1)
    regression = LogisticRegression(l1_ratio=1.0, C=1 / _L1, solver="liblinear", random_state=0)
    regression.fit(np.concatenate(features), np.concatenate(labels))
    return regression.coef_[0], float(regression.intercept_[0])


def contact_probability(maps: np.ndarray, weight: np.ndarray, bias: float) -> np.ndarray:
    """(L, L) float32 of maps (P, L, L), one map in memory as float32 at a time."""
    logit = np.full(maps.shape[1:], bias, np.float32)
    for value, one in zip(weight, maps, strict=True):
        if value:
            logit += np.float32(value) * one
    return expit(logit)

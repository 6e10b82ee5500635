"""Co-evolution of columns: mean-field direct coupling analysis of an alignment, in NumPy and SciPy.

The model is mfDCA (Morcos et al. 2011, doi:10.1073/pnas.1111471108), scored by Frobenius norms with the average
product correction (Dunn et al. 2008, doi:10.1093/bioinformatics/btm604): together the estimator of GaussDCA (Baldassi
et al. 2014, doi:10.1371/journal.pone.0092721). N rows, L columns, D = 20 L, M distinct rows and one more, K the
smaller of M and D.
"""

import numpy as np
from scipy.linalg import cholesky, helmert
from scipy.linalg.lapack import strtri

from hardfold.alignment import STATES, WIDTH, weights
from hardfold.contacts import pairs_in

# Contrasts between the 21 states, orthonormal, each of sum zero: 19 among the residues, then residues against the gap.
# In this basis no state is redundant, the pseudocount is a ridge and the couplings are in the zero-sum gauge.
_CONTRASTS = helmert(WIDTH).T.astype(np.float32)
_STRIP = 50  # columns whose couplings with all others are in memory at a time


def couplings(rows: np.ndarray, pseudocount: float = 0.8) -> np.ndarray:
    """(L, L) float32 strength with which each pair of columns of `rows` (N, L) uint8 ASCII varies together: symmetric,
    zero on the diagonal, corrected for the columns' averages and so negative for many pairs.

    Rows weigh as in `alignment.weights`; their order does not matter. `pseudocount` is the share of uniform sequences
    mixed in: GaussDCA's for Frobenius norms, better here than the 0.5 of Morcos et al. (docs/benchmarks/couplings.md).
    Zeros where all rows are alike. Memory: 160 N L bytes; with more than 20 L distinct rows 80 N L + 1,600 L L.
    """
    length = rows.shape[1]
    states, copies = np.unique(STATES[rows], axis=0, return_inverse=True)
    if len(states) == 1:  # the pseudocount alone would couple its columns, all pairs equally
        return np.zeros((length, length), np.float32)
    samples = _samples(states, np.bincount(copies, weights(rows)), pseudocount)
    return average_product_corrected(_norms(_inverse_factor(samples, pseudocount / len(_CONTRASTS)), length))


def standardised(scores: np.ndarray) -> np.ndarray:
    """(L, L) float32 z-scores: of mean 0 and deviation 1 over the pairs with |i-j| >= 6; zero on the diagonal, and
    everywhere where those pairs are all alike or there is none.
    """
    apart = scores[pairs_in(len(scores))].astype(np.float64)
    if not apart.size or apart.min() == apart.max():
        return np.zeros_like(scores, np.float32)
    standard = ((scores - apart.mean()) / apart.std()).astype(np.float32)
    np.fill_diagonal(standard, 0)
    return standard


def average_product_corrected(scores: np.ndarray) -> np.ndarray:
    """Symmetric (L, L) scores less the product of their columns' means over the mean; the diagonal counts nowhere."""
    scores = scores - np.diag(np.diag(scores))
    columns, length = scores.sum(0), len(scores)
    if not (total := columns.sum()):
        return scores
    corrected = scores - np.outer(columns, columns) * (length / (length - 1) / total)
    np.fill_diagonal(corrected, 0)
    return corrected


def _samples(states, weight, pseudocount):
    """(M, D) float32 A of weighted rows: AᵀA + ridge is the covariance C of their contrasts x, pseudocount p included.

    C = (1 - p) E[xxᵀ] + ridge - (1 - p)² mmᵀ = (1 - p) E[(x - m)(x - m)ᵀ] + p (1 - p) mmᵀ + ridge, m the mean of x.
    """
    share = (weight / weight.sum()).astype(np.float32)
    samples = np.empty((len(states) + 1, states.shape[1] * _CONTRASTS.shape[1]), np.float32)
    points, mean = samples[:-1], samples[-1]
    np.take(_CONTRASTS, states, axis=0, out=points.reshape(*states.shape, -1))
    np.matmul(share, points, out=mean)
    points -= mean
    points *= np.sqrt((1 - pseudocount) * share)[:, None]
    mean *= np.sqrt(pseudocount * (1 - pseudocount))
    return samples


def _inverse_factor(samples, ridge):
    """(K, D) B of (M, D) A: outside the diagonal blocks BᵀB is the inverse of AᵀA + ridge, but for the sign.

    The smaller of two squares is inverted (Woodbury: 1/ridge - Aᵀ (AAᵀ + ridge)⁻¹ A / ridge).
    """
    count, dimension = samples.shape
    square = samples @ samples.T if count < dimension else samples.T @ samples
    square.flat[:: len(square) + 1] += ridge
    inverse, _ = strtri(cholesky(square.T, lower=True, overwrite_a=True), lower=True, overwrite_c=True)
    return inverse @ samples / np.sqrt(ridge) if count < dimension else inverse


def _norms(factor, length):
    """(L, L) Frobenius norms of the blocks of BᵀB over the contrasts among the residues; zero on the diagonal."""
    states = factor.shape[1] // length
    factor[:, states - 1 :: states] = 0  # the contrast with the gap
    squares = np.zeros((length, length), np.float32)
    for start in range(0, length, _STRIP):
        stop = min(start + _STRIP, length)
        strip = factor[:, start * states : stop * states].T @ factor[:, start * states :]
        blocks = strip.reshape(stop - start, states, length - start, states)
        squares[start:stop, start:] = np.einsum("iajb,iajb->ij", blocks, blocks)
    upper = np.triu(np.sqrt(squares), 1)
    return upper + upper.T

import csv
from pathlib import Path

import numpy as np
import pytest

from hardfold.alignment import read_alignment
from hardfold.contacts import evaluate, pairs_in
from hardfold.couplings import average_product_corrected, couplings, standardised
from hardfold.geometry import contact_map, distance_map
from hardfold.structure.parse import read_model

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
TINY = [
    *("MKVLAED", "MKVLAED", "MRVIGEE", "LKILSDE", "ARTLGQN", "IEVFAKD"),
    *("VKTWP-E", "LRIYGKS", "AEVFSD-", "MHILPQN", "IKTVGER"),
]
# Of jdca 0.1.1 (gaussdca with theta 0.2, pseudocount 0.8), a rewriting of GaussDCA.jl by others: pairs i < j, by i.
TINY_SCORES = [
    *(-0.6988, 1.7774, 0.2343, -0.7465, 0.4111, -0.7176),
    *(-0.0915, 0.6104, 1.1972, -0.4083, -0.7410),
    *(-0.1811, -0.3398, -0.8151, -0.7878),
    *(-1.2415, -0.3500, 1.3192),
    *(0.7191, 0.4228, 0.4581),
]


def as_rows(sequences):
    return np.array([list(sequence.encode()) for sequence in sequences], np.uint8)


def random_rows(count, length, letters=LETTERS, seed=1):
    return np.random.default_rng(seed).choice(np.frombuffer(letters.encode(), np.uint8), (count, length))


def copied(rows, source, target, share, seed):
    """The target column becomes a one-to-one image of the source column in this share of the rows."""
    generator = np.random.default_rng(seed)
    image = np.arange(256, dtype=np.uint8)
    image[list(LETTERS.encode())] = generator.permutation(list(LETTERS.encode()))
    changed = generator.random(len(rows)) < share
    rows[changed, target] = image[rows[changed, source]]


def ranked(scores):
    """Pairs i < j, the strongest first."""
    i, j = pairs_in(len(scores), 1)
    order = np.argsort(-scores[i, j], kind="stable")
    return list(zip(i[order].tolist(), j[order].tolist(), strict=True))


def slow_couplings(rows, pseudocount):
    """The textbook in float64: frequencies pair by pair, covariance without the gap's state, inverse, gauge, norm."""
    sequences = [bytes(row).decode() for row in rows]
    states = np.array([[LETTERS.find(letter) % 21 for letter in sequence] for sequence in sequences])

    def alike(a, b):
        shared = [(x, y) for x, y in zip(a, b, strict=True) if not {x, y} & {"-", "X"}]
        return a is b or (shared and sum(x == y for x, y in shared) >= 0.8 * len(shared))

    weight = np.array([1 / sum(bool(alike(a, b)) for b in sequences) for a in sequences])
    weight /= weight.sum()
    length, q = states.shape[1], 21
    single = np.zeros((length, q))
    double = np.zeros((length, length, q, q))
    for row, share in zip(states, weight, strict=True):
        for i in range(length):
            single[i, row[i]] += share
            for j in range(length):
                double[i, j, row[i], row[j]] += share
    single = (1 - pseudocount) * single + pseudocount / q
    double = (1 - pseudocount) * double + pseudocount / q**2
    for i in range(length):
        double[i, i] = np.diag(single[i])
    covariance = double - single[:, None, :, None] * single[None, :, None, :]
    reduced = covariance[:, :, :20, :20].transpose(0, 2, 1, 3).reshape(20 * length, 20 * length)
    coupling = -np.linalg.inv(reduced).reshape(length, 20, length, 20).transpose(0, 2, 1, 3)
    coupling -= coupling.mean(2, keepdims=True)
    coupling -= coupling.mean(3, keepdims=True)
    norms = np.sqrt((coupling**2).sum((2, 3)))
    corrected = np.zeros((length, length))
    for i in range(length):
        for j in range(length):
            if i != j:
                column_i = np.mean([norms[i, k] for k in range(length) if k != i])
                column_j = np.mean([norms[j, k] for k in range(length) if k != j])
                corrected[i, j] = norms[i, j] - column_i * column_j / norms[~np.eye(length, dtype=bool)].mean()
    return corrected


def test_columns_that_vary_together_rank_first():
    rows = random_rows(400, 40)
    planted = [(2, 30), (7, 15), (11, 36)]
    for seed, (source, target) in enumerate(planted):
        copied(rows, source, target, 0.8, seed)
    scores = couplings(rows)
    assert sorted(ranked(scores)[:3]) == planted
    others = np.sort(scores[pairs_in(40, 1)])[:-3]
    assert min(scores[pair] for pair in planted) > 10 * others[-1]


def test_a_correlation_through_a_third_column_is_no_coupling():
    rows = random_rows(2000, 12, "ACDE")
    copied(rows, 1, 5, 0.8, 1)
    copied(rows, 5, 9, 0.8, 2)
    scores = couplings(rows, pseudocount=0.2)
    assert sorted(ranked(scores)[:2]) == [(1, 5), (5, 9)]
    assert scores[1, 9] < 0.25 * scores[1, 5]


def test_scores_are_those_of_an_independent_program():
    scores = couplings(as_rows(TINY))
    assert scores[pairs_in(7, 1)] == pytest.approx(TINY_SCORES, abs=1e-4)


@pytest.mark.parametrize("pseudocount", [0.5, 0.8])
@pytest.mark.parametrize(("count", "length"), [(2, 6), (40, 5), (150, 4)])  # the last has more rows than 20 L
def test_formulas_agree_with_the_textbook_in_double_precision(count, length, pseudocount):
    rows = random_rows(count, length, LETTERS + "-XB", seed=count)
    rows[-1] = rows[0]
    rows[-2, 1:] = rows[1, 1:]
    expected = slow_couplings(rows, pseudocount)
    assert np.abs(couplings(rows, pseudocount) - expected).max() < 1e-4 * np.abs(expected).max() + 1e-4


def test_map_is_symmetric_with_a_zero_diagonal():
    scores = couplings(random_rows(30, 60, LETTERS + "-"))  # more columns than a strip
    assert scores.dtype == np.float32 and scores.shape == (60, 60)
    assert np.array_equal(scores, scores.T) and not scores.diagonal().any()


def test_neither_the_order_of_rows_nor_a_second_copy_of_all_matters():
    rows = random_rows(50, 30, LETTERS + "-")
    rows[10:20] = rows[5]
    scores = couplings(rows)
    assert np.array_equal(couplings(rows[np.random.default_rng(0).permutation(50)]), scores)
    assert np.array_equal(couplings(np.concatenate([rows, rows])), scores)
    assert not np.array_equal(couplings(rows[:-1]), scores)


@pytest.mark.parametrize("sequences", [["MKVLAEDGHIKLM"], ["MKVLAEDGHIKLM"] * 3, ["M", "K"]])
def test_one_sequence_or_one_column_couples_nothing(sequences):
    scores = couplings(as_rows(sequences))
    assert scores.shape == (len(sequences[0]),) * 2 and scores.dtype == np.float32
    assert not scores.any() and not standardised(scores).any()


def test_average_product_correction_by_hand():
    # The means of the columns are 1.5, 2 and 2.5, that of all is 2; what stands on the diagonal does not count.
    scores = np.array([[9.0, 1, 2], [1, 9, 3], [2, 3, 9]])
    expected = [[0, 1 - 1.5 * 2 / 2, 2 - 1.5 * 2.5 / 2], [-0.5, 0, 3 - 2 * 2.5 / 2], [0.125, 0.5, 0]]
    assert average_product_corrected(scores) == pytest.approx(np.array(expected))
    assert average_product_corrected(7 * scores) == pytest.approx(7 * np.array(expected))
    assert average_product_corrected(np.ones((6, 6))) == pytest.approx(np.zeros((6, 6)))


def test_z_scores_are_over_pairs_six_apart():
    scores = couplings(random_rows(30, 25))
    standard = standardised(scores)
    apart = standard[pairs_in(25, 6)]
    assert apart.mean() == pytest.approx(0, abs=1e-5) and apart.std() == pytest.approx(1, abs=1e-5)
    assert standard.dtype == np.float32 and not standard.diagonal().any()
    scores[3, 5] = scores[5, 3] = 1000  # a pair nearer than six
    assert standardised(scores)[pairs_in(25, 6)] == pytest.approx(apart)
    assert standardised(5 * scores + 2)[pairs_in(25, 6)] == pytest.approx(apart, abs=1e-3)
    assert not standardised(scores[:6, :6]).any()


SHARED = Path(__file__).parents[3] / "shared/data"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared alignments and natives are not beside the repository")
@pytest.mark.parametrize("target", ["T1022s1", "T0997", "T1065s2"])
def test_real_contacts_are_found_as_well_as_the_baseline_finds_them(target):
    with open(SHARED / "msa/couplings_baseline.tsv") as file:
        (known,) = (row for row in csv.DictReader(file, delimiter="\t") if row["target"] == target)
    (path,) = (path for path in SHARED.glob(f"msa/**/{known['set']}/{target}.a*"))
    (native,) = sorted(SHARED.glob(f"casp/natives_*casp1[34]/{target}.pdb"))
    alignment = read_alignment(path)
    assert alignment.rows.shape == (int(known["rows"]), int(known["columns"]))
    chain = read_model(native, alignment.query)
    found = evaluate(couplings(alignment.rows), contact_map(distance_map(chain.coordinates, chain.sequence)))
    assert found["p_at_l_long"] > float(known["p_at_l_long"]) - 0.02
    assert found["p_at_l5_long"] > float(known["p_at_l5_long"]) - 0.1

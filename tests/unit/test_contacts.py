import json

import h5py
import numpy as np
import pytest
from sklearn import metrics

from hardfold import contacts
from hardfold.__main__ import main
from hardfold.contacts import PredictionError
from hardfold.structure.chain import Chain
from hardfold.structure.write import write_mmcif

RNG = np.random.default_rng(0)


def arrays(scores, truth):
    return np.array(scores, float), np.array(truth, bool)


def test_pairs_start_at_separation_six_and_ranges_do_not_overlap():
    i, j = contacts.pairs_in(40)
    assert (j - i).min() == 6 and len(i) == 34 * 35 // 2
    sizes = [len(contacts.pairs_in(40, *separation)[0]) for separation in contacts.RANGES.values()]
    assert sum(sizes) == len(i)
    assert sizes[0] == 16 * 17 // 2  # |i-j| 24..39


def test_precision_counts_the_best_pairs_and_divides_by_what_exists():
    scores, truth = arrays([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 1])
    assert contacts.precision_at(scores, truth, 2) == 0.5
    assert contacts.precision_at(scores, truth, 3) == pytest.approx(2 / 3)
    assert contacts.precision_at(scores, truth, 10) == 0.75
    assert np.isnan(contacts.precision_at(*arrays([], []), 3))


def test_ties_keep_the_order_of_the_pairs():
    scores, truth = arrays([0.5, 0.5, 0.5, 0.1], [1, 0, 0, 0])
    assert contacts.precision_at(scores, truth, 1) == 1
    assert contacts.precision_at(scores, truth[[1, 0, 2, 3]], 1) == 0


def test_scores_that_are_all_equal_name_no_pair_the_best():
    scores, truth = arrays([0.5, 0.5, 0.5], [1, 0, 0])
    assert np.isnan(contacts.precision_at(scores, truth, 2))
    assert contacts.precision_at(scores, truth, 3) == pytest.approx(1 / 3)  # all of them are taken
    found = contacts.evaluate(np.full((40, 40), 0.1), np.eye(40, k=30, dtype=np.uint8))
    assert all(np.isnan(found[key]) for key in contacts.PRECISION_KEYS) and found["roc_auc"] == 0.5


def test_roc_auc_is_the_share_of_ordered_couples_ties_a_half():
    # Contacts 0.9 and 0.4 against 0.4 and 0.2: two couples each, one of the four tied.
    assert contacts.roc_auc(*arrays([0.9, 0.4, 0.4, 0.2], [1, 1, 0, 0])) == 3.5 / 4
    assert contacts.roc_auc(*arrays([0.5] * 4, [1, 0, 1, 0])) == 0.5
    assert np.isnan(contacts.roc_auc(*arrays([0.5, 0.6], [0, 0])))


def test_average_precision_by_hand():
    # Recall 1/2 at precision 1, the second contact at precision 2/3.
    assert contacts.pr_auc(*arrays([0.9, 0.8, 0.7], [1, 0, 1])) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    # All tied: one threshold, the base rate.
    assert contacts.pr_auc(*arrays([0.5] * 4, [1, 0, 0, 0])) == 0.25


def test_precision_recall_and_f1_at_a_threshold():
    scores, truth = arrays([0.9, 0.6, 0.6, 0.1], [1, 1, 0, 1])
    assert contacts.precision_recall_f1(scores, truth, 0.6) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    precision, recall, f1 = contacts.precision_recall_f1(scores, truth, 0.95)
    assert np.isnan(precision) and recall == 0 and f1 == 0


def test_the_best_threshold_has_the_largest_f1():
    scores, truth = RNG.random(300).astype(np.float16), RNG.random(300) < 0.2
    halves = scores[:99], truth[:99], scores[99:], truth[99:]
    best = contacts.best_threshold(contacts.count_scores(*halves[:2]) + contacts.count_scores(*halves[2:]))
    f1 = [contacts.precision_recall_f1(scores, truth, threshold)[2] for threshold in scores]
    assert contacts.precision_recall_f1(scores, truth, best)[2] == max(f1)
    with pytest.raises(ValueError, match="no contact"):
        contacts.best_threshold(contacts.count_scores(scores, np.zeros(300, bool)))


def test_unresolved_pairs_are_neither_ranked_nor_counted_but_length_is_whole():
    truth = np.zeros((30, 30), np.uint8)
    truth[0, 29] = truth[29, 0] = 1
    truth[1, :] = truth[:, 1] = 255
    probability = np.zeros((30, 30))
    probability[1, 28] = probability[28, 1] = 1  # would rank first
    probability[0, 29] = probability[29, 0] = 0.9
    found = contacts.evaluate(probability, truth)
    assert found["length"] == 30
    assert found["pairs"] == 24 * 25 // 2 - 23  # residue 1 has 23 partners at 6 or more
    assert found["p_at_l5_long"] == 1 / 6
    assert found["roc_auc"] == 1 and found["pr_auc"] == 1


def test_an_asymmetric_prediction_is_averaged():
    probability = np.zeros((8, 8))
    probability[0, 7], probability[7, 0] = 1.0, 0.5
    scores, _ = contacts.resolved_pairs(probability, np.zeros((8, 8), np.uint8))
    assert scores.max() == 0.75


def test_distance_error_counts_near_known_pairs_only():
    true = np.full((8, 8), np.nan)
    true[0, 6], true[0, 7], true[1, 7] = 10.0, 30.0, np.nan
    assert contacts.distance_mae(np.full((8, 8), 12.0), true, 20.0) == 2.0
    assert np.isnan(contacts.distance_mae(np.zeros((8, 8)), np.full((8, 8), np.nan), 20.0))


def test_angle_error_is_periodic():
    predicted, true = np.array([[np.pi - 0.1, 0.0]]), np.array([[-np.pi + 0.1, np.nan]])
    assert contacts.angle_mae(predicted, true) == pytest.approx(np.degrees(0.2))


def test_curves_meet_their_areas():
    scores, truth = RNG.random(2000), RNG.random(2000) < 0.3
    scores[truth] += 0.3
    grid = np.linspace(0, 1, 2001)
    assert np.trapezoid(contacts.roc_curve(scores, truth, grid), grid) == pytest.approx(
        contacts.roc_auc(scores, truth), abs=2e-3
    )
    assert np.mean(contacts.pr_curve(scores, truth, grid)) == pytest.approx(contacts.pr_auc(scores, truth), abs=5e-3)


def test_reliability_by_hand():
    count, predicted, observed = contacts.reliability_sums(*arrays([0.05, 0.15, 0.17, 1.0], [0, 1, 0, 1]))
    assert count.tolist() == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
    assert observed.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert predicted[:3] == pytest.approx([0.05, 0.32, 0])


def test_distance_errors_by_true_distance_by_hand():
    true, predicted = np.full((9, 9), np.nan), np.full((9, 9), 10.0)
    true[0, 6], true[0, 7], true[0, 8], true[1, 7], true[1, 8] = 8.5, 9.0, 13.0, 45.0, 12.0
    predicted[1, 8] = np.nan  # not predicted
    true[0, 5] = 9.0  # too near in sequence
    count, absolute, signed = contacts.distance_error_sums(predicted, true)
    assert len(count) == 19 and count[3] == 2 and count[5] == 1 and count.sum() == 3
    assert absolute[3] == signed[3] == 1.5 + 1.0
    assert (absolute[5], signed[5]) == (3, -3)


def test_pairs_are_ranked_once_and_equals_keep_their_order():
    probability, truth = np.zeros((10, 10)), np.zeros((10, 10), np.uint8)
    probability[0, 9] = probability[9, 0] = 0.5
    truth[0, 6] = truth[6, 0] = 255
    scores, _, separation = contacts.ranked_pairs(probability, truth)
    assert scores.tolist() == [0.5, *[0.0] * 8]
    assert separation.tolist() == [9, 7, 8, 6, 7, 8, 6, 7, 6]


def test_all_metrics_are_those_of_scikit_learn():
    truth = (RNG.random((60, 60)) < 0.1).astype(np.uint8)
    truth = np.maximum(truth, truth.T)
    probability = np.round(RNG.random((60, 60)) + 0.2 * truth, 2)  # with ties
    probability = (probability + probability.T) / 2
    scores, is_contact = contacts.resolved_pairs(probability, truth)
    found = contacts.evaluate(probability, truth)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(is_contact, scores))
    assert found["pr_auc"] == pytest.approx(metrics.average_precision_score(is_contact, scores))
    expected = metrics.precision_recall_fscore_support(is_contact, scores >= 0.6, average="binary")[:3]
    assert contacts.precision_recall_f1(scores, is_contact, 0.6) == pytest.approx(expected)


def native(tmp_path, length=30):
    """A helix-like chain, its ends brought together."""
    turn = np.linspace(0, 2 * np.pi, length)
    alpha = np.stack([12 * np.cos(turn), 12 * np.sin(turn), np.zeros(length)], axis=1)
    offsets = np.array([[0, 0, 1.4], [0, 0, 0], [1.5, 0, 0], [2.2, 1.0, 0], [np.nan] * 3])
    chain = Chain.from_atoms("test_A", "A" * length, alpha[:, None] + offsets)
    path = tmp_path / "native.cif"
    write_mmcif(chain, path)
    return path


def test_the_command_reads_rr_npz_and_hdf5_alike(tmp_path, capsys):
    path, length = native(tmp_path), 30
    probability = np.zeros((length, length), np.float32)
    lines = ["PFRMAT RR", "TARGET T0", "MODEL 1", "A" * length]
    for i, j, p in [(0, 29, 0.75), (2, 20, 0.5), (5, 12, 0.25)]:
        probability[i, j] = probability[j, i] = p
        lines.append(f"{i + 1} {j + 1} 0 8 {p}")
    (tmp_path / "old.rr").write_text("\n".join([*lines, "END"]))
    (tmp_path / "new.rr").write_text(
        "\n".join(["PFRMAT RR", "RMODE 2", *(f"{a} {b} {p} 0.1 0.2" for a, b, _, _, p in map(str.split, lines[4:]))])
    )
    np.savez(tmp_path / "map.npz", contact_probability=probability, other=1)
    with h5py.File(tmp_path / "predictions.h5", "w") as file:
        file["test_A/contact_probability"] = probability.astype(np.float16)
        file["test_B/contact_probability"] = probability[:9, :9]
    answers = []
    for name in ("old.rr", "new.rr", "map.npz", "predictions.h5"):
        extra = ["--id", "test_A"] if name.endswith("h5") else []
        assert main(["contacts", str(tmp_path / name), str(path), "--json", *extra]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["p_at_l5_long"] >= 1 / 6 and answers[0]["length"] == length
    assert all(answer == answers[0] for answer in answers)
    assert set(answers[0]) == {
        *contacts.PRECISION_KEYS, "roc_auc", "pr_auc", "base_rate", "pairs", "pairs_unseen", "length"
    }  # fmt: skip


def test_one_of_several_models_of_an_rr_file_is_to_be_named(tmp_path, capsys):
    path, file = native(tmp_path), tmp_path / "models.rr"
    file.write_text("PFRMAT RR\nMODEL  1\n1 30 0 8 0.9\nEND\nMODEL  2\n1 29 0 8 0.4\nEND\n")
    found = [np.argwhere(np.triu(contacts.read_prediction(file, 30, model=name))).tolist() for name in "12"]
    assert found == [[[0, 29]], [[0, 28]]]
    assert main(["contacts", str(file), str(path), "--model", "2"]) == 0
    capsys.readouterr()
    for extra in ([], ["--model", "3"]):
        assert main(["contacts", str(file), str(path), *extra]) == 1
        assert "name one of its 2 models with --model (1, 2)" in capsys.readouterr().err


def test_pairs_without_a_prediction_are_counted_and_not_scored(tmp_path):
    truth = np.zeros((30, 30), np.uint8)
    truth[0, 29] = truth[29, 0] = truth[0, 10] = truth[10, 0] = 1
    truth[2], truth[:, 2] = 255, 255
    probability = np.random.default_rng(0).random((30, 30))
    whole = contacts.evaluate(probability, truth)
    apart = np.abs(np.subtract.outer(np.arange(30), np.arange(30))) > 20
    probability[apart] = np.nan
    seen = contacts.evaluate(probability, truth)
    assert whole["pairs_unseen"] == 0
    assert seen["pairs_unseen"] == whole["pairs"] - seen["pairs"] == 9 * 10 / 2 - 7  # less those of the unresolved one
    scores, is_contact = contacts.resolved_pairs(probability, truth)
    assert np.isfinite(scores).all() and is_contact.sum() == 1
    distances = np.where(apart, np.nan, 5.0)
    assert contacts.distance_mae(distances, np.full((30, 30), 4.0), 20.0) == 1
    angles = np.array([[0.0, np.nan]])
    assert contacts.angle_mae(angles, np.zeros((1, 2))) == 0
    with h5py.File(tmp_path / "predictions.h5", "w") as file:
        file["test_A/contact_probability"] = probability
    assert np.isnan(contacts.read_prediction(tmp_path / "predictions.h5", 30)).any()
    np.savez(tmp_path / "map.npz", probability)
    with pytest.raises(PredictionError, match="not finite"):
        contacts.read_prediction(tmp_path / "map.npz", 30)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.rr", "1 99 0 8 0.5", "line 1: pair 1 99"),
        ("bad.rr", "1 two 0 8 0.5", "line 1: not a pair"),
        ("bad.rr", "1 9 nan", "not finite"),
        ("bad.rr", "PFRMAT RR\nEND", "lists no pair"),
    ],
)
def test_a_prediction_that_does_not_fit_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(PredictionError, match=message):
        contacts.read_prediction(tmp_path / name, 30)


def test_maps_of_another_size_or_without_a_name_are_refused(tmp_path):
    np.savez(tmp_path / "small.npz", np.zeros((5, 5)))
    with pytest.raises(PredictionError, match="30 residues"):
        contacts.read_prediction(tmp_path / "small.npz", 30)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a/contact_probability"] = file["b/contact_probability"] = np.zeros((30, 30))
    with pytest.raises(PredictionError, match="--id"):
        contacts.read_prediction(tmp_path / "two.h5", 30)
    with pytest.raises(PredictionError, match="no such file"):
        contacts.read_prediction(tmp_path / "none.rr", 30)

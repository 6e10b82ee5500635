"""The folding half of the report over all arms: sections, words chosen by figures, tables."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from hardfold.report import secondary, verdict
from hardfold.report.figures import FIGURES
from hardfold.report.figures.structures import examples
from hardfold.report.format import number
from hardfold.report.render import render_markdown
from hardfold.report.tables import confidence, folding, targets, test_time, training

HIGHER = {"mean": 0.05, "low": 0.02, "high": 0.08, "p": 0.001}
LOWER = {"mean": -0.05, "low": -0.08, "high": -0.02, "p": 0.001}
NONE = {"mean": 0.01, "low": -0.02, "high": 0.04, "p": 0.4}
TITLES = ("TM-score improvements", "Distribution over targets", "Analysis by difficulty", "Individual targets")


@pytest.fixture(scope="module")
def text(every_arm, tmp_path_factory):
    return render_markdown(every_arm, tmp_path_factory.mktemp("none"))


def section(text, title):
    return re.search(rf"^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def with_entries(results, part, keys, **values):
    """The results with other figures in the comparison's rows that have these keys."""
    rows = [
        row | values if all(row[key] == value for key, value in keys.items()) else row
        for row in results.comparison[part]
    ]
    assert rows != results.comparison[part]
    return dataclasses.replace(results, comparison=results.comparison | {part: rows})


def cells(table, first):
    """The cells of the row that begins with `first`."""
    return [
        cell.strip() for cell in re.search(rf"^\| {re.escape(first)} \|(.*)\|$", table, re.MULTILINE)[1].split(" | ")
    ]


def test_arms_that_make_no_claim_stay_out_of_the_headline_sections(text):
    for title in TITLES:
        part = section(text, title).split("### Reading alignments")[0]
        assert "disjoint_alignment" in part
        for arm in ("test_time_oracle", "control_", "nearest_training", "memoris"):
            assert arm not in part
    controls = section(text, "Controls")
    for arm in ("test_time_oracle", "control_shuffled_labels", "control_swapped_alignment", "nearest_training"):
        assert f"| {arm}, all |" in controls
    assert "memoris" not in controls


def test_a_section_is_there_only_with_its_arm(results, text, tmp_path):
    default = render_markdown(results, tmp_path)
    for title in ("### Reading alignments, by their depth", "## Adaptation at test time", "Every arm, TM-score"):
        assert title in text
        assert title not in default
    assert "The right structures against exchanged ones" in text


@pytest.mark.parametrize(
    ("values", "said"),
    [(HIGHER, "higher than the baseline"), (LOWER, "lower than the baseline"), (NONE, "not told apart")],
)
def test_secondary_arms_are_told_in_words_of_their_figures(every_arm, values, said):
    changed = with_entries(
        every_arm, "secondary", {"arm": "leave_one_out", "class": "all"}, **values, p_holm=2 * values["p"]
    )
    statements = secondary.statements(changed)
    assert len(statements) == 4
    (own,) = [statement for statement in statements if "`leave_one_out` (secondary)" in statement]
    assert said in own and "p (Holm)" in own


@pytest.mark.parametrize(
    ("values", "shuffled", "swapped", "alignment", "plain"),
    [
        (
            HIGHER,
            "no knowledge of how sequences fold",
            "is not read from the alignment",
            "the alignment helps",
            "is not the alignment's",
        ),
        (
            LOWER,
            "should; mean",
            "as it should where the adapter reads it",
            "lowers the scores",
            "It scores lower than `disjoint`",
        ),
        (
            NONE,
            "not told apart from the baseline",
            "not told apart from the target's own",
            "not told apart from not",
            "not told apart from `disjoint`",
        ),
    ],
)
def test_controls_are_told_in_words_of_their_figures(every_arm, values, shuffled, swapped, alignment, plain):
    changed = with_entries(every_arm, "secondary", {"arm": "control_shuffled_labels", "class": "all"}, **values)
    for first in ("control_swapped_alignment", "disjoint_alignment"):
        changed = with_entries(changed, "pairings", {"first": first, "band": "all"}, **values, p_holm=values["p"])
    said = {statement.split("**")[1]: statement for statement in secondary.controls(changed) if "**" in statement}
    assert shuffled in said["Shuffled labels"]
    assert swapped in said["Swapped alignments"]
    assert plain in said["Swapped alignments"]
    assert alignment in secondary.alignment_statement(changed)


def test_too_few_targets_are_said_where_nothing_can_be_told_apart(every_arm):
    few = LOWER | {"n": 4, "p": 0.125, "p_least": 0.125}
    changed = with_entries(every_arm, "secondary", {"arm": "nearest_training", "class": "all"}, **few)
    (said,) = [one for one in secondary.controls(changed) if one.startswith("**Nearest training chain**")]
    assert "is not told apart from the baseline, with too few targets to judge; mean" in said


def test_a_gain_that_wrong_structures_give_too_is_cautioned_in_the_summary(every_arm, tmp_path):
    pair = {"first": "disjoint", "band": "all"}
    gained = every_arm.comparison | {"primary": every_arm.primary | {"low": 0.001}}
    gained = dataclasses.replace(every_arm, comparison=gained)
    for values, said in (
        (LOWER, "**The right structures give less"),
        (NONE, "**The right structures are not told apart"),
    ):
        changed = with_entries(gained, "pairings", pair, **values, p_holm=values["p"])
        assert secondary.caution(changed).startswith(said)
        assert said in section(render_markdown(changed, tmp_path), "Executive summary")
    helped = with_entries(gained, "pairings", pair, **HIGHER, p_holm=0.001)
    assert secondary.caution(helped) == ""
    unclear = dataclasses.replace(
        changed, comparison=changed.comparison | {"primary": every_arm.primary | {"low": -0.01}}
    )
    assert secondary.caution(unclear) == ""


def test_step_0_is_equal_only_where_every_run_says_so(every_arm):
    runs = len(every_arm.tunings) + len(every_arm.adaptations)
    assert f"bit for bit in all {runs} runs" in " ".join(secondary.controls(every_arm))
    one = every_arm.adaptations[0]
    moved = dataclasses.replace(one, record=one.record | {"step0_max_difference": 3e-5})
    changed = dataclasses.replace(every_arm, adaptations=[moved, *every_arm.adaptations[1:]])
    assert f"in 1 of {runs} runs, by 3e-5 Å" in " ".join(secondary.controls(changed))


def test_depths_stand_in_the_table_of_pairs(every_arm, text):
    rows = re.findall(r"^\| disjoint_alignment − disjoint \| (\S+) \| (\d+) \|", text, re.MULTILINE)
    assert rows == [("all", "14"), ("<10", "7"), ("30-100", "7")]


def test_published_scores_are_columns_beside_the_runs(results):
    rows = [
        ("2t00_A", "chain", "AlphaFold2", 0.777),
        ("2t01_A", "D1", "AlphaFold2", 0.888),
        ("other", "chain", "x", 0.1),
    ]
    reference = pd.DataFrame(rows, columns=["target", "unit", "source", "tm"])
    domains = results.scores[results.scores["target"] == "2t01_A"].assign(unit="D1", residues=33)
    changed = dataclasses.replace(results, reference=reference, scores=pd.concat([results.scores, domains]))
    table = targets.targets(changed)
    assert "| difference | AlphaFold2 | Neff |" in table
    assert "AlphaFold2" not in targets.targets(results)
    assert cells(table, "2t00_A")[6] == "0.777" and cells(table, "2t01_A")[6] == "–"
    assert "0.888" not in table and "| x |" not in table
    units = targets.units(changed)
    assert cells(units, "2t01_A")[:3] == ["D1", "hard", "33"] and cells(units, "2t01_A")[-1] == "0.888"


def test_a_hard_endpoint_is_told_in_its_own_words(every_arm, tmp_path):
    hard = {row["target"] for row in every_arm.comparison["by_target"] if row["hard"]}
    assert len(hard) == 7 and every_arm.groups["hard"] == hard
    primary = every_arm.primary | {"class": "hard", "n": 7}
    changed = dataclasses.replace(every_arm, comparison=every_arm.comparison | {"primary": primary})
    summary = section(render_markdown(changed, tmp_path), "Executive summary")
    assert "Hard targets (of class FM, FM|FM/TBM, FM/TBM, TBM-hard or hard, or with" in summary
    rows = every_arm.by_target("disjoint")
    assert f"standard deviation of {rows['difference'][rows['hard']].std():.3f}" in verdict.power_statement(changed)
    assert verdict.compare_with_floor(changed).n == 7


def test_the_primary_difference_is_told_seed_by_seed(every_arm, text):
    seeds = [{"seed": 1, "n": 14, "mean": 0.0123}, {"seed": 3, "n": 14, "mean": -0.0456}]
    said = verdict.seed_statement({"seeds": seeds})
    assert said == "Seed by seed the mean difference is +0.012 (seed 1) and −0.046 (seed 3), each over n = 14 targets."
    assert verdict.seed_statement({"seeds": seeds[:1]}) == ""
    assert verdict.seed_statement(every_arm.primary) in section(text, "Executive summary")


def test_bands_stand_with_their_intervals(every_arm, text):
    row = next(row for row in every_arm.comparison["bands"] if (row["arm"], row["by"]) == ("leave_one_out", "period"))
    shown = cells(section(text, "Analysis by difficulty"), "not known, leave_one_out")
    assert shown[0] == "14" and shown[3].startswith(number(row["mean"], signed=True) + " [")
    assert "none, disjoint |" in text and "none, memorisation" not in text


def test_other_scores_stand_by_chain_and_by_unit(every_arm):
    arms = every_arm.headline_arms
    table = folding.other_scores(every_arm, arms, "chain")
    assert folding.other_scores(every_arm, arms, "unit") == ""
    rmsd = [row | {"mean": -2.0, "value": 9.0, "low": -3.0, "high": -1.0} for row in every_arm.comparison["metrics"]]
    domains = pd.concat([every_arm.scores, every_arm.scores.assign(unit="D1")])
    changed = dataclasses.replace(every_arm, scores=domains, comparison=every_arm.comparison | {"metrics": rmsd})
    assert cells(folding.other_scores(changed, arms, "unit"), "disjoint")[-1] == "9.0 (−2.0 [−3.0, −1.0])"
    assert re.findall(r"^\| (\w+) \| 14 \|", table, re.MULTILINE) == ["baseline", *arms]
    fewer = [row | {"n": 9} if row["metric"] == "gdt_ts" else row for row in every_arm.comparison["metrics"]]
    few = dataclasses.replace(every_arm, comparison=every_arm.comparison | {"metrics": fewer})
    assert cells(folding.other_scores(few, arms, "chain"), "disjoint")[1].endswith(" (n = 9)") and "n =" not in table
    none = [row for row in fewer if row["metric"] != "rmsd"]
    few = dataclasses.replace(every_arm, comparison=every_arm.comparison | {"metrics": none})
    assert cells(folding.other_scores(few, arms, "chain"), "disjoint")[-1] == "–"
    assert cells(table, "baseline")[1] == number(every_arm.chain_scores("baseline")["gdt_ts"].mean())


def test_the_nearest_training_chain_stands_before_and_after_dropping(results):
    audit = results.audit.set_index("chain")
    audit.loc["2t00_A", ["identity", "identity_kept"]] = 0.46, np.nan
    audit.loc["2t01_A", ["identity", "identity_kept"]] = 0.35, 0.35
    audit.loc["2t02_A", ["identity", "identity_kept"]] = np.nan, np.nan
    table = targets.targets(dataclasses.replace(results, audit=audit.reset_index()))
    assert [cells(table, f"2t0{n}_A")[-2] for n in range(3)] == ["46 % → no hit", "35 %", "no hit"]


def test_few_targets_are_case_studies(results, text, tmp_path):
    few = dataclasses.replace(results, comparison=results.comparison | {"primary": results.primary | {"n": 5}})
    case = render_markdown(few, tmp_path)
    assert "## Individual targets: case studies" in case and "All targets, n = 5 case studies, from" in case
    assert "case studies" not in text
    assert "Power: none. With n = 5" in case


def test_power_rests_on_the_spread_of_the_primary_arms_differences(results):
    said = verdict.power_statement(results)
    deviation = results.by_target("disjoint")["difference"].std()
    assert f"standard deviation of {deviation:.3f}" in said and "n = 14" in said
    wider = [row | {"difference": 10 * row["difference"]} for row in results.comparison["by_target"]]
    spread = dataclasses.replace(results, comparison=results.comparison | {"by_target": wider})
    said = [verdict.power_statement(one) for one in (results, spread)]
    share = [int(re.search(r"asks for, with (?:more than )?(\d+) %", words)[1]) for words in said]
    assert share[0] > share[1]
    same = [row | {"difference": 0.01} for row in results.comparison["by_target"]]
    flat = dataclasses.replace(results, comparison=results.comparison | {"by_target": same})
    assert "not known" in verdict.power_statement(flat)


def test_times_are_by_arm_and_seed_with_folds_together(every_arm):
    table = training.cost(every_arm)
    assert cells(table, "disjoint")[:3] == ["2", "3 min 10 s", "1 min 34 s"]
    assert cells(table, "leave_one_out")[2] == "6 min 18 s"  # four folds
    assert cells(table, "test_time")[-1] == "777"
    process = training.process(every_arm)
    assert cells(process, "test_time, seed 2")[1] == "30 a target"
    assert "| leave_one_out/fold4, seed 1 |" in process


def test_trained_parameters_are_named_once_and_counted(every_arm):
    one = every_arm.tunings[0]
    names = {
        f"base_model.model.trunk.blocks.{block}.mlp.lora_{part}.default.weight": 10
        for block in (9, 10)
        for part in "AB"
    }
    other = dataclasses.replace(one, training=one.training | {"trained": names})
    sets = training.trained(dataclasses.replace(every_arm, tunings=[other, *every_arm.tunings[1:]]))
    assert "`leave_one_out`" in sets[1][0]
    assert cells(sets[0][1], "`trunk.blocks.{9, 10}.mlp.lora_{A, B}.weight`") == ["4", "40"]
    assert cells(sets[1][1], "all") == ["9", "54,321"]


def test_keys_that_were_missing_or_not_asked_for_are_named(every_arm):
    (said,) = training.loaded_keys(every_arm)
    assert said.startswith("531 tensors loaded; missing: none; unexpected: `esm.old` (disjoint, ")
    one = every_arm.tunings[-1]
    keys = one.training["loaded_keys"] | {"missing": ["a.b"]}
    odd = dataclasses.replace(one, training=one.training | {"loaded_keys": keys})
    assert "missing: `a.b`" in training.loaded_keys(dataclasses.replace(every_arm, tunings=[one, odd]))[1]


def test_calibration_by_hand():
    residues = pd.DataFrame({"plddt": [12.0, 18.0, 80.0], "lddt": [0.25, 0.35, 0.6]})
    bins = confidence.reliability(residues)
    assert bins["n"].to_list() == [2, 1]
    assert confidence.calibration_error(residues) == pytest.approx((2 * 0.15 + 0.2) / 3)
    assert confidence.calibration_error(residues[:0]) is None
    assert confidence.correlation(residues[:2]) is None
    assert confidence.correlation(residues.assign(plddt=[0, 50, 100], lddt=[0, 0.5, 1])) == pytest.approx(1)
    ends = pd.DataFrame({"plddt": [0.0, 100.0], "lddt": [0.0, 1.0]})
    assert confidence.reliability(ends)["n"].sum() == 2


def test_confidence_stands_before_and_after(every_arm):
    table = confidence.confidence(every_arm)
    arms = re.findall(r"^\| (\w+) \| 14 \|", table, re.MULTILINE)
    assert arms == ["baseline", "baseline_alignment", "disjoint", "disjoint_alignment", "leave_one_out", "test_time"]
    assert cells(table, "baseline")[5] == str(14 * 40)


def test_step_0_is_counted_where_it_was_chosen(every_arm):
    assert "was chosen in 0 % of cases" in secondary.adaptation_statement(every_arm)
    steps = every_arm.adaptations[0].steps
    first = steps.assign(chosen=np.where(steps["step"] == 0, "yes", "no"))
    changed = [dataclasses.replace(every_arm.adaptations[0], steps=first), *every_arm.adaptations[1:]]
    changed = dataclasses.replace(every_arm, adaptations=changed)
    assert "was chosen in 50 % of cases" in secondary.adaptation_statement(changed)
    assert cells(test_time.steps(changed), "0")[-1] == "14"
    assert "no result" in secondary.adaptation_statement(every_arm)


def test_without_the_oracle_no_score_is_drawn_against_the_step(every_arm):
    blind = [dataclasses.replace(run, steps=run.steps.drop(columns="tm")) for run in every_arm.adaptations]
    entries = [row for row in every_arm.comparison["secondary"] if row["arm"] != "test_time_oracle"]
    changed = dataclasses.replace(
        every_arm, adaptations=blind, comparison=every_arm.comparison | {"secondary": entries}
    )
    assert [axis.get_title()[:5] for axis in FIGURES["folding_adaptation"](changed).axes] == ["pLDDT", "perpl"]
    assert len(FIGURES["folding_adaptation"](every_arm).axes) == 3
    assert "oracle" not in secondary.adaptation_statement(changed)
    assert cells(test_time.steps(changed), "10")[-2] == "–"


def test_the_targets_looked_at_are_chosen_by_the_primary_difference(results):
    chosen = examples(results)
    differences = [row["difference"] for row in chosen.values()]
    everything = sorted(results.by_target("disjoint")["difference"])
    assert list(chosen) == ["highest difference", "median", "lowest difference"]
    assert (differences[0], differences[2]) == (everything[-1], everything[0])
    one = [row for row in results.comparison["by_target"] if row["target"] == "2t00_A"]
    single = dataclasses.replace(results, comparison=results.comparison | {"by_target": one})
    assert list(examples(single)) == ["highest difference"]

import json
import re

import pytest

from hardfold.contact.keys import BASELINES
from hardfold.report.format import number
from hardfold.report.render import render_html, render_markdown, write_report
from hardfold.report.results import read_results

# One pixel, enough for an image to be embedded.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000 1f15c4890000000d49444154789c6360000000000500 01a5f64540"
    "0000000049454e44ae426082".replace(" ", "")
)


@pytest.fixture(scope="module")
def text(results, tmp_path_factory):
    return render_markdown(results, tmp_path_factory.mktemp("none"))


def section(text, title):
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def rerender(root):
    return render_markdown(read_results(root), root / "no-figures")


def test_all_sections_stand_in_order(text):
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == [
        "Executive summary",
        "TM-score improvements",
        "Distribution over targets",
        "Analysis by difficulty",
        "Individual targets",
        "Training process",
        "Training configuration",
        "Confidence: pLDDT against lDDT",
        "Memorisation check (train = test, no evidence of improvement)",
        "Controls",
        "Contact experiments",
        "Data",
        "Limits of the evidence",
        "Provenance",
    ]


def test_memorisation_stays_off_the_headline(text):
    for title in ("Executive summary", "TM-score improvements", "Distribution over targets", "Individual targets"):
        assert "memoris" not in section(text, title)
    assert "trained **on the very targets it is scored on**" in text
    assert "significant" not in text.lower()


def test_every_number_of_the_summary_stands_in_a_result_file(text, results):
    primary, audit = results.primary, results.audit
    values = [primary[key] for key in ("mean", "low", "high", "min_improvement")]
    values += [values[0] * 0, primary["p"], *(run["mean"] for run in primary["seeds"])]
    row = results.metrics["test"].loc[results.best.name]
    values += [row[f"{key}{end}"] for key in ("p_at_l_long", "roc_auc") for end in ("", "_low", "_high")]
    margins = results.comparisons[results.comparisons["first"] == results.best.name]
    values += [*margins["difference"], *margins["low"], *margins["high"]]
    values += [results.chain_scores(arm)["tm"].mean() for arm in ("baseline", "random_walk")]
    values.append(values[-2] - values[-1])
    shown = {number(value) for value in values} | {number(value, signed=True).lstrip("+") for value in values}
    margin = results.chain_scores("baseline")["tm"] - results.chain_scores("random_walk")["tm"]
    counts = {primary["n"], results.config["folding"]["adapter"]["blocks"], len(results.config["folding"]["seeds"])}
    counts |= {run["seed"] for run in primary["seeds"]}
    counts |= {len(results.experiments), int(row["proteins"]), results.tunings[0].training["chains"]}
    counts |= {int((margin > 0).sum()), int((audit["split"] == "target").sum()), round(100 * primary["confidence"])}
    counts |= {0, round(100 * results.config["splits"]["leakage"]["identity"])}
    summary = section(text, "Executive summary")
    summary = re.sub(r"`[^`]*`|ESM-\S+|exp\d|margin \S+ \[[^\]]*\]", "", summary)
    found = set(re.findall(r"−?\d+(?:\.\d+)?", summary.replace(primary["criterion"][1:], "")))
    assert found
    assert found <= shown | {str(value) for value in counts}


def test_the_report_follows_a_changed_verdict(own_results):
    def raise_it(comparison):
        comparison["primary"] |= {"mean": 0.0777, "low": 0.0511, "high": 0.0999, "p": 0.00049, "met": True}

    assert "Criterion not met." in rerender(own_results)
    change(own_results / "folding/comparison.json", raise_it)
    summary = section(rerender(own_results), "Executive summary")
    assert "**Criterion met.** The mean TM-score difference is +0.078 (95 % bootstrap interval +0.051 to" in summary
    assert "p = < 0.001" not in summary
    assert "p < 0.001" in summary


@pytest.mark.parametrize(
    ("path", "edit", "shown"),
    [
        ("folding/comparison.json", lambda c: c["distribution"][0].update({"reach_0.6": 13}), "| 13 |"),
        ("folding/comparison.json", lambda c: c["by_target"][0].update(tm=0.9876), "0.988 ("),
        ("folding/disjoint/seed1/training.json", lambda c: c.update(seconds=7384.0), "2 h 3 min"),
        ("folding/disjoint/seed2/training.json", lambda c: c["convergence"].update(met=True), "3 of 4 fine"),
        ("experiments/exp2/training.json", lambda c: c.update(best_epoch=11), "11 of 12"),
        ("provenance.json", lambda c: c["packages"].update(numpy="9.8.7"), "9.8.7"),
        ("weights/esmfold_2M_hardfold/weights.json", lambda c: c["files"].update(x="f" * 64), "f" * 12),
    ],
)
def test_the_report_follows_a_changed_json_file(own_results, path, edit, shown):
    assert shown not in rerender(own_results)
    change(own_results / path, edit)
    assert shown in rerender(own_results)


@pytest.mark.parametrize(
    ("path", "old", "new", "shown"),
    [
        ("structures/qc.tsv", "fewer than 30 residues", "resolution unheard of", "dropped: resolution unheard of"),
        ("splits/audit.tsv", "unknown", "failed", "| 1 | "),
        ("alignments/summary.tsv", "\tpool\t", "\tnowhere\t", "nowhere"),
        ("experiments/summary.tsv", "\t0.7\t", "\t0.9321\t", "0.932 ["),
        ("experiments/targets.tsv", "\t0.7\t", "\t0.9322\t", "0.932 ["),
        ("experiments/comparisons.tsv", "held_out\tp_at_l_long\t7", "held_out\tp_at_l_long\t97", "n = 97 proteins"),
        ("experiments/bands.tsv", "exp1\theld_out\tneff\t<10\t2", "exp1\theld_out\tneff\t<10\t99", "2 and 99"),
        ("folding/scores.tsv", "\t70\t", "\t1234\t", "1,234"),
        ("folding/disjoint/seed1/history.csv", "1.045", "8.8888", "8.889 →"),
    ],
)
def test_the_report_follows_a_changed_table(own_results, path, old, new, shown):
    before = rerender(own_results)
    file = own_results / path
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    after = rerender(own_results)
    assert after != before
    assert shown in after


def test_unknown_values_are_dashes_with_a_note_never_zero(text):
    errors = re.search(r"### Distances and angles\n(.*?)\n###", text, re.DOTALL)[1]
    assert "| exp1 | 3 | – | – |" in errors
    assert "baseline" not in errors  # they predict neither
    assert "never a zero" in errors
    assert "| absent-package | – |" in text


def test_the_contact_section_begins_with_the_questions_and_says_what_intervals_hold(text):
    contact = section(text, "Contact experiments")
    places = [contact.index(words) for words in ("trained once, with one seed", "Does the alignment help?")]
    places += [contact.index(f"\n### {title}\n") for title in ("Against the baselines", "Experiments")]
    assert places == sorted(places)
    assert contact.index("The questions, answered by paired differences") < contact.index("ROC and precision-recall")


def test_baselines_stand_marked_among_the_experiments_of_both_splits(text):
    ranking = re.search(r"### Contacts as a classification\n(.*?)\nAt the prob", text, re.DOTALL)[1]
    names = re.findall(r"^\| (\S+(?: \(baseline\))?) \| [34] \|", ranking, re.MULTILINE)
    baselines = [f"*{name}* (baseline)" for name in BASELINES]
    assert names == 2 * [*(f"exp{n}" for n in range(1, 8)), *baselines]


def test_fewer_proteins_than_all_are_counted_beside_the_value(text):
    half = re.search(r"At a probability of 0.5, (.*?)\n!?\*?The figure", text, re.DOTALL)[1]
    rows = re.findall(r"^\| exp1 \| (\d) \| ([^|]*) \| ([^|]*) \|", half, re.MULTILINE)
    assert [row[0] for row in rows] == ["3", "4"]
    assert [row[1].endswith(f"(n = {n})") for row, n in zip(rows, (2, 3), strict=True)] == [True, True]
    assert all("n =" not in row[2] for row in rows)


def test_bands_are_columns_with_their_proteins(text):
    assert "| experiment | <10 (n = 2) | 10-30 (n = 3) | >=100 (n = 4) |" in text
    assert "| experiment | none (n = 2) | 20-30 (n = 3) |" in text
    bands = re.search(r"### By alignment depth.*?\n### ", text, re.DOTALL)[0]
    assert bands.count("| exp7 |") == bands.count("| *couplings* (baseline) |") == 4


def test_tables_have_one_shape_and_a_blank_line_above(text):
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(blocks) > 20
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
        assert re.search(r"\n\n" + re.escape(block), text)


def test_html_is_one_file(made_up, tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    for name in ("folding_paired", "contact_maps"):
        (figures / f"{name}.png").write_bytes(PIXEL)
    write_report(made_up, figures, tmp_path / "report.md", tmp_path / "report.html")
    markdown, html = ((tmp_path / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert markdown.count("](figures/") == html.count("data:image/png;base64,") == 2
    assert html.count("<figcaption>Figure ") == 2
    assert "Figure 2. Predicted and true contact maps" in html
    assert '*The figure "Alignment depth by split" has no values to show.*' in markdown
    assert len(re.findall(r"<table>", html)) == len(re.findall(r"(?:^\|.*\|\n)+", markdown, re.MULTILINE))
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "| ---" not in html


def test_html_and_markdown_say_the_same(text, tmp_path):
    html = re.sub(r"<style>.*?</style>|<nav.*?</nav>|<[^>]+>", " ", render_html(text, tmp_path), flags=re.DOTALL)
    numbers = re.compile(r"−?\d+\.\d{3}\b")
    assert numbers.findall(html) == numbers.findall(text)

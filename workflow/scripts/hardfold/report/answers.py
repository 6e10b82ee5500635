"""What the contact experiments' paired comparisons allow to be said, in words that their figures choose."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from hardfold.contact.collect import HELD_OUT
from hardfold.leakage import SCORED
from hardfold.report.designs import BASELINE_LABELS, setting
from hardfold.report.format import count, interval, is_unknown, p_value, words
from hardfold.report.results import Results

METRIC_LABELS = {"p_at_l_long": "long-range P@L", "roc_auc": "ROC AUC"}
LEVEL = 0.05  # of the tests, as the intervals' 95 %
# What an experiment has to beat to have learnt something, the hardest last.
RIVALS = ["separation_prior", "attention_head", "couplings"]

HIGHER, LOWER, UNCLEAR, UNKNOWN = "higher", "lower", "not told apart", "unknown"


@dataclass(frozen=True)
class Question:
    text: str
    helps: str
    lowers: str
    unclear: str


NO_EFFECT = "not told apart from no effect"
WORDINGS = {
    "alignment": Question("Does the alignment help?", "It helps", "It lowers the scores", f"It is {NO_EFFECT}"),
    "auxiliary_tasks": Question(
        "Do the auxiliary tasks help?", "They help", "They lower the scores", f"They are {NO_EFFECT}"
    ),
    "losses": Question(
        "Which losses?", "Those named first score higher", "Those named first score lower", "None are told apart"
    ),
    "size": Question("Does size help?", "It helps", "It lowers the scores", f"It is {NO_EFFECT}"),
    "couplings": Question("Do couplings help?", "They help", "They lower the scores", f"They are {NO_EFFECT}"),
}


def judge(row: Mapping) -> str:
    """Whether the first of a pair scores higher or lower than the second: the interval of the difference excludes 0
    and p, adjusted where the comparison belongs to a family, is below LEVEL. UNKNOWN where there are too few clusters
    for an interval, or for any p below LEVEL.
    """
    p = row["p"] if is_unknown(row["p_holm"]) else row["p_holm"]
    if any(is_unknown(value) for value in (row["low"], row["high"], p)):
        return UNKNOWN
    if p >= LEVEL or row["low"] <= 0 <= row["high"]:
        return UNKNOWN if row["p_least"] >= LEVEL else UNCLEAR
    return HIGHER if row["low"] > 0 else LOWER


def compared(results: Results, question: str, split: str = HELD_OUT) -> pd.DataFrame:
    """The comparisons that answer a question by METRIC_LABELS, pair by pair."""
    table = results.comparisons
    return table[(table["question"] == question) & (table["split"] == split) & table["metric"].isin(METRIC_LABELS)]


def design_statement(results: Results) -> str:
    """What the answers rest on, and what their intervals leave out."""
    sizes = (count(results.experiments[0].metrics[split]["proteins"]) for split in SCORED)
    chains = "{} test chains and {} targets".format(*sizes)
    return (
        f"Each answer pairs two experiments protein by protein on all held-out proteins ({chains}): mean difference, "
        "95 % bootstrap interval over sequence clusters, Wilcoxon's p over clusters after Holm's method over all "
        "questions and metrics of the table below. *Higher* and *lower* speak of the one named first and ask for an "
        f"interval that excludes 0 and a p below {LEVEL:g}; *unknown* says that there are too few clusters for an "
        "interval, or for such a p whatever they were like. **Each experiment was trained once, with one seed: an "
        "interval covers the choice of proteins, not training noise, so what it tells apart is two trained "
        "models, not yet two methods.**"
    )


def answer(results: Results, question: str) -> str:
    """A question and the verdict that its comparisons carry, then their figures, a sentence a pair of experiments; as
    an item of a Markdown list, the pairs below it where there are several.
    """
    asked, rows = WORDINGS[question], compared(results, question)
    if rows.empty:
        return f"**{asked.text}** Unasked: no two experiments of this configuration differ in this alone."
    experiments = {one.name: one for one in results.experiments}
    pairs = []
    for names, part in rows.groupby(["first", "second"], sort=False):
        described = [f"{name} ({setting(question, experiments[name])})" for name in names]
        pairs.append(f"{' against '.join(described)}: {figures(_ordered(part))}.")
    separator = " " if len(pairs) == 1 else "\n    - "
    return separator.join([f"**{asked.text} {verdict(asked, _ordered(rows))}**", *pairs])


def verdict(asked: Question, rows: list[dict]) -> str:
    """One sentence for all comparisons of a question."""
    judged = {}
    for row in rows:
        judged.setdefault(judge(row), []).append(METRIC_LABELS[row["metric"]])
    single = {
        HIGHER: asked.helps,
        LOWER: asked.lowers,
        UNCLEAR: asked.unclear,
        UNKNOWN: "Unknown: too few clusters to tell",
    }
    if len(judged) == 1:
        return f"{single[next(iter(judged))]}."
    if len(rows) == len(METRIC_LABELS):
        return f"Mixed: {words([f'{kind} by {words(labels)}' for kind, labels in judged.items()])}."
    return f"Mixed: of {len(rows)} figures {words([f'{len(labels)} {kind}' for kind, labels in judged.items()])}."


def figures(rows: list[dict]) -> str:
    """One pair by each metric: how it is judged, difference, interval and p; then proteins and clusters."""
    sizes = [f"n = {count(row['proteins'])} proteins in {count(row['clusters'])} clusters" for row in rows]
    alike = len(set(sizes)) == 1
    said = [f"{_figure(row)}{'' if alike else f', {size}'}" for row, size in zip(rows, sizes, strict=True)]
    return "; ".join(said + sizes[:1] * alike)


def _figure(row: Mapping) -> str:
    name, p = ("p", row["p"]) if is_unknown(row["p_holm"]) else ("Holm p", row["p_holm"])
    shown = p_value(p)
    test = f"{name} {shown if shown.startswith('<') else f'= {shown}'}"
    return f"{METRIC_LABELS[row['metric']]} {judge(row)}, {difference(row)}, {test}"


def difference(row: Mapping) -> str:
    return interval(row["difference"], row["low"], row["high"], signed=True)


def against_baselines(results: Results) -> list[str]:
    """For each rival: which experiments beat it, which fall short of it, which are not told apart from it."""
    rows = compared(results, "baseline")
    statements = []
    for rival in RIVALS:
        said = []
        for metric, label in METRIC_LABELS.items():
            part = rows[(rows["second"] == rival) & (rows["metric"] == metric)].to_dict("records")
            judged = {row["first"]: judge(row) for row in part}
            groups = [
                f"{kind} for {_names(results, [name for name, its in judged.items() if its == kind])}"
                for kind in (HIGHER, LOWER, UNCLEAR, UNKNOWN)
                if kind in judged.values()
            ]
            said.append(f"{label} {'; '.join(groups) or 'not compared'}.")
        label = BASELINE_LABELS[rival].capitalize()
        if rival == "attention_head":
            label += f" of `{results.config['experiments']['defaults']['esm2_name']}`"
        statements.append(f"**{label}:** {' '.join(said)}")
    return statements


def _names(results: Results, names: list[str]) -> str:
    return f"all {len(names)} experiments" if len(names) == len(results.experiments) > 1 else words(names)


def contact_statement(results: Results) -> str:
    """The best experiment by validation, what it reaches on test proteins, and whether it beats its two hard rivals."""
    one = results.best
    if one is None:
        return "No contact experiment has a ROC AUC on validation chains, so none is named the best."
    row = results.metrics["test"].loc[one.name]
    reached = [f"{label} {interval(*_cells(row, key))}" for key, label in METRIC_LABELS.items()]
    rows = compared(results, "baseline")
    rows = rows[rows["first"] == one.name]
    margins = [_margin(rival, rows[rows["second"] == rival]) for rival in ("couplings", "attention_head")]
    return (
        f"Contact track: `{one.name}`, of {len(results.experiments)} experiments the one with the highest ROC AUC on "
        f"validation chains, reaches {words(reached)} on {count(row['proteins'])} test proteins. "
        f"On held-out proteins, test chains and targets together, it {words(margins)}."
    )


def _margin(rival: str, rows: pd.DataFrame) -> str:
    name = {"couplings": "couplings alone", "attention_head": "ESM-2's attention head"}[rival]
    if rows.empty:
        return f"was not compared with {name}"
    phrases = {
        HIGHER: f"beats {name}",
        LOWER: f"falls short of {name}",
        UNCLEAR: f"is not told apart from {name}",
        UNKNOWN: f"cannot be judged against {name}",
    }
    judged = {}
    for row in _ordered(rows):
        judged.setdefault(judge(row), []).append(f"{METRIC_LABELS[row['metric']]} {difference(row)}")
    return " and ".join(f"{phrases[kind]} ({', '.join(parts)})" for kind, parts in judged.items())


def _cells(row: Mapping, key: str) -> Iterable:
    return (row[key], row[f"{key}_low"], row[f"{key}_high"])


def _ordered(rows: pd.DataFrame) -> list[dict]:
    """Rows of one pair or more, the metrics of a pair in the order of METRIC_LABELS."""
    order = list(METRIC_LABELS)
    return sorted(rows.to_dict("records"), key=lambda row: order.index(row["metric"]))

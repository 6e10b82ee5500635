"""The words of the summary, chosen by the figures: what may be said, and what may not."""

from dataclasses import dataclass

from hardfold.arms import FLOOR
from hardfold.difficulty import grouped
from hardfold.report.format import count, interval, number, p_value, percent, words
from hardfold.report.reading import ResultsError
from hardfold.report.results import Results
from hardfold.statistics import bootstrap_interval, detectable_effect, smallest_p, wilcoxon_power

POWER = 0.8  # of the least effect that is named


@dataclass(frozen=True)
class Verdict:
    heading: str
    text: str


def criterion_verdict(primary: dict) -> Verdict:
    """The verdict on the primary endpoint that its own figures carry; ResultsError where `met` contradicts them."""
    n, mean, low, high = (primary[key] for key in ("n", "mean", "low", "high"))
    if not n or mean is None:
        return Verdict("No verdict.", f"No target was scored both with the baseline and with arm `{primary['arm']}`.")
    reached = mean >= primary["min_improvement"]
    if primary["met"] != (reached and low is not None and low > 0):
        raise ResultsError("comparison.json: primary.met contradicts mean, low and min_improvement beside it")
    figures = f"The mean TM-score difference is {number(mean, signed=True)} ({evidence(primary)})."
    if cannot_reject(n, primary["confidence"]):
        return Verdict(
            "Case studies, no verdict.",
            f"{figures} With n = {count(n)} the exact two-sided p cannot go below {number(smallest_p(n), 4)}, "
            "so no test at this level can succeed; the targets are to be read one by one.",
        )
    if primary["met"]:
        return Verdict("Criterion met.", figures)
    threshold = number(primary["min_improvement"])
    if low > 0:
        reason = f"The interval lies above 0, but the mean stays below the {threshold} that was asked for."
    elif high < 0:
        reason = "The interval lies below 0: the adapted model scores lower than the baseline."
    else:
        reason = "The interval includes 0: these data do not tell an improvement from none."
        if reached:
            reason += f" The mean reaches the {threshold} that was asked for, which alone is not enough."
    return Verdict("Criterion not met.", f"{figures} {reason}")


def evidence(entry: dict) -> str:
    """Interval, n and p of the primary endpoint, for a bracket."""
    parts = [f"n = {count(entry['n'])} targets"]
    if entry["low"] is not None:
        low, high = (number(entry[end], signed=True) for end in ("low", "high"))
        parts.insert(0, f"{percent(entry['confidence'])} bootstrap interval {low} to {high}")
    test = {"exact": "exact Wilcoxon", "approx": "Wilcoxon, normal approximation,"}.get(entry["p_method"])
    p = p_value(entry["p"])
    return "; ".join([*parts, f"{test} p {p if p.startswith('<') else f'= {p}'}"] if test else parts)


def seed_statement(primary: dict) -> str:
    """The primary endpoint's mean difference in each training run; empty where there was one alone."""
    if len(primary["seeds"]) < 2:
        return ""
    means = [f"{number(run['mean'], signed=True)} (seed {run['seed']})" for run in primary["seeds"]]
    sizes = words(sorted({count(run["n"]) for run in primary["seeds"]}))
    return f"Seed by seed the mean difference is {words(means)}, each over n = {sizes} targets."


def cannot_reject(n: int, confidence: float) -> bool:
    """Whether even the smallest exact p for `n` pairs is above the test's level."""
    return smallest_p(n) > 1 - confidence


def power_statement(results: Results) -> str:
    """What the primary endpoint's test could have found, with the spread of the differences as measured."""
    primary = results.primary
    rows = grouped(results.by_target(primary["arm"]))[primary["class"]]
    deviation, n, level = rows["difference"].std(), primary["n"], 1 - primary["confidence"]
    if cannot_reject(n, primary["confidence"]):
        return f"Power: none. With n = {count(n)} no test of the primary endpoint can succeed, whatever the effect."
    if rows["difference"].nunique() < 2:
        return f"Power: not known. The differences of the n = {count(n)} targets do not vary."
    asked = primary["min_improvement"]
    power = wilcoxon_power(asked, deviation, n, level)
    return (
        f"Power: n = {count(n)} targets, whose differences have a standard deviation of {number(deviation)}. A "
        f"two-sided signed-rank test at {percent(level)} finds a true mean difference of "
        f"{number(detectable_effect(deviation, n, POWER, level))} with a probability of {percent(POWER)}, one of "
        f"{number(asked)}, which the criterion asks for, with {'more than 99 %' if power > 0.99 else percent(power)}. "
        "Smaller effects may have been missed."
    )


@dataclass(frozen=True)
class FloorComparison:
    """The baseline minus random compact walks on the targets of the primary endpoint: means, and the paired margin."""

    baseline: float
    floor: float
    low: float | None
    high: float | None
    above: int
    n: int


def compare_with_floor(results: Results) -> FloorComparison | None:
    """None where no target has both scores."""
    pairs = (
        results.chain_scores("baseline")[["tm"]].join(results.chain_scores(FLOOR)[["tm"]], rsuffix="_floor").dropna()
    )
    pairs = pairs[pairs.index.isin(results.groups[results.primary["class"]], level="target")]
    if pairs.empty:
        return None
    margins = (pairs["tm"] - pairs["tm_floor"]).to_numpy()
    samples, seed = results.config["scoring"]["bootstrap"], results.config["seed"]
    low, high = bootstrap_interval(margins, results.primary["confidence"], samples, seed) or (None, None)
    means = (float(pairs[column].mean()) for column in ("tm", "tm_floor"))
    return FloorComparison(*means, low, high, int((margins > 0).sum()), len(pairs))


def floor_statement(results: Results) -> str:
    compared = compare_with_floor(results)
    if compared is None:
        return "**The random-walk floor was not measured**, so nothing says whether the baseline folds at all."
    margin = interval(compared.baseline - compared.floor, compared.low, compared.high, signed=True)
    figures = (
        f"mean TM-score {number(compared.baseline)} against {number(compared.floor)}, margin {margin}; "
        f"above its own floor on {compared.above} of {compared.n} targets"
    )
    if compared.low is not None and compared.low > 0:
        return f"The baseline lies above the random-walk floor: {figures}."
    meaning = (
        "Its models are not shown to be better than random compact chains, and differences between such models "
        "have little meaning, whatever their sign."
    )
    if compared.baseline <= compared.floor:
        return f"**The baseline itself does not beat the random-walk floor**: {figures}. {meaning}"
    return f"**The baseline cannot be told from the random-walk floor**: {figures}. {meaning}"


def leakage_statement(results: Results) -> str:
    """How many targets still have a training chain at or above the identity that the audit drops at."""
    targets = results.audit[results.audit["split"] == "target"]
    limit = results.config["splits"]["leakage"]["identity"]
    related = (targets["identity_kept"] >= limit).sum()
    return (
        f"Of {count(len(targets))} audited targets, {count(related)} {'has' if related == 1 else 'have'} as the "
        f"nearest training chain, by e-value and whatever that is, one at {percent(limit)} identity or more."
    )


def stand_in_statement(results: Results) -> str:
    names = [f"`{name}`" for name in results.stand_ins]
    if not names:
        return "All pretrained weights are the ones named in the configuration; their sources stand under provenance."
    return (
        f"**Small embedded models stand in for the released ones**: {words(names)} share the architecture of released "
        "ESM-2, ESM-MSA-1b or ESMFold models, at a fraction of their size and training. "
        "The figures show that the method runs and is measured; they say nothing about the released models."
    )

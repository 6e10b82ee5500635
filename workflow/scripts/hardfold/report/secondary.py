"""What the secondary arms, the controls and the arms' comparison with each other allow to be said."""

from hardfold.arms import ALIGNMENT, NEAREST, ORACLE, SHUFFLED, SWAPPED, TEST_TIME
from hardfold.report import verdict
from hardfold.report.answers import HIGHER, LOWER, UNCLEAR, UNKNOWN, judge
from hardfold.report.format import count, interval, number, p_value, percent, scientific
from hardfold.report.results import Results

RIGHT_STRUCTURES = ("disjoint", SHUFFLED)
BY_ALIGNMENT = [(ALIGNMENT, "disjoint"), (SWAPPED, ALIGNMENT)]


def statements(results: Results) -> list[str]:
    """A sentence for each arm of the headline but the primary one."""
    said = {
        HIGHER: "higher than the baseline",
        LOWER: "lower than the baseline",
        UNCLEAR: "not told apart from the baseline",
        UNKNOWN: "too few targets to judge",
    }
    entries = [results.entry(arm) for arm in results.headline_arms if arm != results.primary["arm"]]
    return [f"Arm `{entry['arm']}` (secondary): {said[judge(entry)]}; {figures(entry)}." for entry in entries if entry]


def figures(row: dict) -> str:
    """`mean difference +0.012 [...], n = 43 targets, p = 0.2`, with p adjusted where it belongs to a family."""
    p, label = (row["p"], "p") if row["p_holm"] is None else (row["p_holm"], "p (Holm)")
    shown = p_value(p)
    spread = interval(row["mean"], row["low"], row["high"], signed=True)
    return f"mean difference {spread}, n = {count(row['n'])}, {label} {shown if shown[0] == '<' else f'= {shown}'}"


def pairing(results: Results, first: str, second: str, band: str = "all") -> dict | None:
    rows = results.comparison["pairings"]
    return next((r for r in rows if (r["first"], r["second"], r["band"]) == (first, second, band)), None)


def _worded(row: dict, higher: str, lower: str, otherwise: str) -> str:
    """What `judge` makes of the row, in the words for it."""
    words = {HIGHER: higher, LOWER: lower, UNKNOWN: f"{otherwise}, with too few targets to judge"}
    return words.get(judge(row), otherwise)


def controls(results: Results) -> list[str]:
    """A statement for each control that was run, chosen by its figures."""
    said = [_step0(results), verdict.floor_statement(results)]
    said += [_shuffled(results), _swapped(results), _nearest(results)]
    return [statement for statement in said if statement]


def _step0(results: Results) -> str:
    """How far untrained adapters move atoms."""
    records = [run.training for run in results.tunings] + [run.record for run in results.adaptations]
    if not records:
        return ""
    shifts = [record["step0_max_difference"] for record in records]
    moved = sum(shift > 0 for shift in shifts)
    if not moved:
        return (
            f"**Step 0** equals the untouched model bit for bit in all {len(shifts)} runs, on the chains on which each "
            "tries it."
        )
    return (
        f"**Step 0** differs from the untouched model in {moved} of {len(shifts)} runs, by {scientific(max(shifts))} Å "
        "of an atom at most."
    )


def _shuffled(results: Results) -> str:
    entry, rest = results.entry(SHUFFLED), pairing(results, *RIGHT_STRUCTURES)
    if entry is None:
        return ""
    gained = _worded(
        entry,
        "it scores higher than the baseline, though it was taught no structure of its own sequences: a gain of "
        "that size is no knowledge of how sequences fold",
        "it scores lower than the baseline, as training on wrong structures should",
        "it is not told apart from the baseline",
    )
    text = f"**Shuffled labels** (`{SHUFFLED}`): {gained}; {figures(entry)}."
    if rest is None:
        return text
    return f"{text} {_right_structures(rest)}: `disjoint` less this control, {figures(rest)}."


def _right_structures(row: dict) -> str:
    return _worded(
        row,
        "The right structures give more than the wrong ones",
        "The right structures give less than the wrong ones",
        "The right structures are not told apart from the wrong ones",
    )


def caution(results: Results) -> str:
    """Beside a primary interval above 0: that the control of exchanged structures is not shown to gain less. Empty
    otherwise."""
    row = pairing(results, *RIGHT_STRUCTURES, results.primary["class"]) or pairing(results, *RIGHT_STRUCTURES)
    low = results.primary["low"]
    if row is None or low is None or low <= 0 or judge(row) == HIGHER:
        return ""
    return (
        f"**{_right_structures(row)}** (`disjoint` less `{SHUFFLED}`, trained on other chains' structures): "
        f"{figures(row)}. The gain above is not shown to be knowledge of how sequences fold."
    )


def _swapped(results: Results) -> str:
    row = pairing(results, SWAPPED, ALIGNMENT)
    if row is None:
        return ""
    found = _worded(
        row,
        "another target's alignment scores higher than the target's own: what the adapter gains is not read "
        "from the alignment",
        "another target's alignment scores lower than the target's own, as it should where the adapter reads it",
        "another target's alignment is not told apart from the target's own",
    )
    text = f"**Swapped alignments** (`{SWAPPED}` less `{ALIGNMENT}`): {found}; {figures(row)}."
    plain = pairing(results, SWAPPED, "disjoint")
    if plain is None:
        return text
    gained = _worded(
        plain,
        "It still scores higher than `disjoint`: that much of the arm's gain is not the alignment's",
        "It scores lower than `disjoint`",
        "It is not told apart from `disjoint`",
    )
    return f"{text} {gained}, {figures(plain)}."


def _nearest(results: Results) -> str:
    entry = results.entry(NEAREST)
    if entry is None:
        return ""
    found = _worded(
        entry,
        "copying the nearest training chain's structure scores higher than the baseline",
        "copying the nearest training chain's structure scores lower than the baseline",
        "copying the nearest training chain's structure is not told apart from the baseline",
    )
    return f"**Nearest training chain** (`{NEAREST}`): where there is one, {found}; {figures(entry)}."


def alignment_statement(results: Results) -> str:
    """Whether reading alignments helps; empty where the arm was not run."""
    row = pairing(results, ALIGNMENT, "disjoint")
    if row is None:
        return ""
    found = _worded(
        row,
        "Reading the alignment helps",
        "Reading the alignment lowers the scores",
        "Reading the alignment is not told apart from not reading it",
    )
    return f"**{found}** (`{ALIGNMENT}` less `disjoint`): {figures(row)}."


def adaptation_statement(results: Results) -> str:
    """What adapting to the target's own sequence gives, how often step 0 was chosen, and what the oracle adds."""
    chosen = [run.steps[run.steps["chosen"] == "yes"] for run in results.adaptations]
    untouched = sum((rows["step"] == 0).sum() for rows in chosen) / sum(map(len, chosen))
    entry, oracle = results.entry(TEST_TIME), results.entry(ORACLE)
    text = (
        f"By `{results.config['folding'][TEST_TIME]['choose_by']}` the untouched model, step 0, was chosen in "
        f"{percent(untouched)} of cases; the steps chosen score {figures(entry)}."
    )
    if oracle is None:
        return text
    return (
        f"{text} The oracle, which looks at the native, scores {number(oracle['mean'], signed=True)}: the best that "
        "any choice among these steps could give, above the baseline by its making, and no result."
    )

"""How values look in the report: one place for digits, signs, units and for what is not known."""

import math
import re
from collections.abc import Iterable, Sequence

UNKNOWN = "–"
UNKNOWN_NOTE = f"*{UNKNOWN} not known, not measured or not applicable; it is never a zero.*"


def is_unknown(value) -> bool:
    """None, NaN and empty text."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """Fixed decimals with a true minus sign; never '-0.000'. A signed value that would round to 0 keeps its sign by
    further decimals: an interval's end at -0.0002 includes 0, one at +0.0002 does not. Below 1e-9 it is rounding.
    """
    if is_unknown(value):
        return UNKNOWN
    while signed and abs(value) >= 1e-9 and not round(float(value), digits):
        digits += 1
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''},.{digits}f}".replace("-", "−")


def count(value: float | None) -> str:
    return number(value, 0)


def interval(value, low, high, digits: int = 3, signed: bool = False) -> str:
    """`0.412 [0.380, 0.441]`; the value alone where there is no interval."""
    if is_unknown(value) or is_unknown(low) or is_unknown(high):
        return number(value, digits, signed)
    return f"{number(value, digits, signed)} [{number(low, digits, signed)}, {number(high, digits, signed)}]"


def p_value(value: float | None) -> str:
    if is_unknown(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else number(value)


def percent(fraction: float | None, digits: int = 0) -> str:
    return UNKNOWN if is_unknown(fraction) else f"{number(100 * fraction, digits)} %"


def scientific(value: float | None) -> str:
    """Learning rates and such: the shortest form, `5e-4` rather than `0.0005`."""
    if is_unknown(value):
        return UNKNOWN
    plain = f"{float(value):g}"
    mantissa, _, exponent = f"{float(value):.6e}".partition("e")
    short = f"{float(mantissa):g}e{int(exponent)}"
    return short if 0 < abs(float(value)) < 0.01 else plain


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `12 min 5 s`, `3 h 4 min`."""
    if is_unknown(seconds):
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(float(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def text(value) -> str:
    """Any value as a table cell: unknown as a dash, booleans as words; `|`, tags and line breaks made safe."""
    if is_unknown(value):
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(re.sub(r"<(?=[A-Za-z/!?])", "&lt;", str(value)).replace("|", "\\|").split())


def words(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence], numeric_from: int = 1) -> str:
    """A pipe table, columns from `numeric_from` on set to the right; with a note below where a value is not known."""
    cells = [[text(value) for value in row] for row in rows]
    if not cells:
        return "*No rows.*"
    rule = [":---" if index < numeric_from else "---:" for index in range(len(columns))]
    lines = [f"| {' | '.join(line)} |" for line in [list(columns), rule, *cells]]
    note = ["", UNKNOWN_NOTE] if any(UNKNOWN in line for line in cells) else []
    return "\n".join(lines + note)

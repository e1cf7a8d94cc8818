"""How numbers are written in a report: every estimate with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bias_audit.statistics.clusters import is_worth_less
from bias_audit.statistics.estimate import Estimate

MISSING = "not measured"

_SAME = 1e-9
"""Relative difference up to which two p-values are one number."""
_PREFIXES = ("B", "KiB", "MiB", "GiB", "TiB")


def decimal(value: float, digits: int = 2) -> str:
    """Such as "0.83"; a minus is a real one, and stands never before "0.00"."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else minus(text)


def minus(text: str) -> str:
    """Numbers with the sign that typesetters use in place of a hyphen."""
    return text.replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate | None) -> str:
    """Such as "0.83 [0.82, 0.85]"; three decimals where two would hide where a bound lies.

    The same rule as in the sentences of findings, so that a number reads alike everywhere.
    """
    if estimate is None:
        return MISSING
    numbers = (estimate.value, estimate.lower, estimate.upper)
    digits = 3 if any(map(_hides, numbers)) else 2
    value, lower, upper = (decimal(number, digits) for number in numbers)
    return f"{value} [{lower}, {upper}]"


def format_estimate(estimate: Estimate) -> str:
    """Such as "0.83 [0.82, 0.85] (95 %), n = 700": an estimate away from its table's heading."""
    level = f"{100 * estimate.level:.4g} %"
    return f"{interval(estimate)} ({level}), n = {sample(estimate.n, estimate)}"


def sample(n: int, estimate: Estimate | None) -> str:
    """How much an estimate rests on, such as "96", or "96 (12.0)" with the effective clusters.

    These are printed where they are fewer by more than a fifth.

    Args:
        n: Images or clusters.
        estimate: What rests on them; None where nothing was measured.
    """
    if estimate is None or not is_worth_less(n, estimate.clusters):
        return count(n)
    return f"{count(n)} ({estimate.clusters:.1f})"


def sample_heading(noun: str, samples: Iterable[tuple[int, Estimate | None]]) -> str:
    """The heading of a column of `sample`, which says what parentheses hold if there are any."""
    if any(e is not None and is_worth_less(n, e.clusters) for n, e in samples):
        return f"{noun}\n(effective clusters)"
    return noun


def _hides(number: float) -> bool:
    """Whether two decimals would round a number to a boundary that it does not touch."""
    return round(number, 2) in {0.0, 1.0} and number not in {0.0, 1.0}


def guess(share: float) -> str:
    """What guessing gives, such as "0.25"; three decimals below a tenth, none for 0 itself."""
    if share == 0:
        return "0"
    return decimal(share, 3 if share < 0.1 else 2)  # noqa: PLR2004


def signed_interval(estimate: Estimate | None) -> str:
    """Such as "+0.33 [0.31, 0.35]", for differences."""
    if estimate is None:
        return MISSING
    text = interval(estimate)
    return f"+{text}" if estimate.value > 0 else text


def chance_of(p_value: float | None, smallest: float | None = None) -> str:
    """A p-value, such as "p = 0.012"; "not tested" without one.

    Where it is the smallest that the draws behind it allow, such as "p ≤ 0.008 (the smallest
    possible here)".
    """
    if p_value is None:
        return "not tested"
    if smallest is not None and p_value <= smallest * (1 + _SAME):
        shown = decimal(smallest, 3) if smallest >= 0.001 else f"{smallest:.1g}"  # noqa: PLR2004
        return f"p \N{LESS-THAN OR EQUAL TO} {shown} (the smallest possible here)"
    return "p < 0.001" if p_value < 0.001 else f"p = {decimal(p_value, 3)}"  # noqa: PLR2004


def percent(share: float) -> str:
    """Such as "12.5 %"."""
    return f"{decimal(100 * share, 1)} %"


def percent_interval(estimate: Estimate) -> str:
    """Such as "12.5 % [10.1, 15.2]"."""
    lower, upper = (decimal(100 * bound, 1) for bound in (estimate.lower, estimate.upper))
    return f"{percent(estimate.value)} [{lower}, {upper}]"


def points_interval(estimate: Estimate) -> str:
    """A difference of percentages, such as "12.5 points [10.1, 15.2]"."""
    value, *bounds = (
        decimal(100 * number, 1) for number in (estimate.value, estimate.lower, estimate.upper)
    )
    return f"{value} points [{', '.join(bounds)}]"


def sentence(text: str) -> str:
    """The text with a capital first letter; a metric's name starts with a small one."""
    return text[:1].upper() + text[1:]


def count(number: int) -> str:
    """Such as "4,797"."""
    return f"{number:,}"


def counted(number: int, noun: str) -> str:
    """Such as "1 image" or "4,797 images"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def listed_all(names: Sequence[str]) -> str:
    """Such as "age", "age and race" or "age, race and gender"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def coverage(estimates: Iterable[Estimate]) -> str:
    """The intervals of a block in words, such as "95 % intervals"; empty without estimates."""
    levels = sorted({estimate.level for estimate in estimates})
    return f"{' and '.join(f'{100 * level:g} %' for level in levels)} intervals" if levels else ""


def interval_note(estimates: Iterable[Estimate]) -> tuple[str, ...]:
    """A sentence on how the intervals of a block were made; none without estimates."""
    known = tuple(estimates)
    if not known:
        return ()
    methods = sorted({estimate.method for estimate in known})
    named = coverage(known)
    if len({estimate.level for estimate in known}) == 1:
        named = named.removesuffix("s")
    return (f"[ ] = {named}; method: {'; '.join(methods)}.",)


def size(number: float) -> str:
    """Bytes, such as "171.7 MiB"."""
    for prefix in _PREFIXES[:-1]:
        if number < 1024:  # noqa: PLR2004
            return f"{number:.0f} B" if prefix == "B" else f"{number:.1f} {prefix}"
        number /= 1024
    return f"{number:.1f} {_PREFIXES[-1]}"

"""How numbers are put into a finding's sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from bias_audit.statistics.clusters import is_worth_less
from bias_audit.statistics.estimate import Estimate

SCORE_INTERVALS: Final = (
    "are score intervals (Wilson 1927) that count as many observations as the influence of every "
    "image says, with Student's t for few clusters"
)
"""How intervals of shares are made."""

LABEL_ERRORS: Final = (
    "Where a share of a group's labels is wrong, up to the same share of right predictions counts "
    "as wrong there: a difference between groups that is smaller than the disagreement of "
    "annotators may be one of the labels."
)
"""Limit of shares of right predictions by group."""


def interval(estimate: Estimate) -> str:
    """Such as "0.83 [0.82, 0.85]"; three decimals where two would hide where a bound lies."""
    numbers = (estimate.value, estimate.lower, estimate.upper)
    hidden = (n for n in numbers if round(n, 2) in {0.0, 1.0} and n not in {0.0, 1.0})
    digits = 2 if next(hidden, None) is None else 3
    texts = (f"{number:.{digits}f}" for number in numbers)
    value, lower, upper = (t.lstrip("-") if float(t) == 0 else t for t in texts)
    return f"{value} [{lower}, {upper}]"


def percent(share: float) -> str:
    """Such as "12.5 %"."""
    return f"{100 * share:.1f} %"


def percent_interval(estimate: Estimate) -> str:
    """Such as "12.5 % [10.1, 15.2]"."""
    return f"{percent(estimate.value)} [{100 * estimate.lower:.1f}, {100 * estimate.upper:.1f}]"


def coverage(level: float) -> str:
    """Such as "95 % interval"."""
    return f"{100 * level:g} % interval"


def decided_at(alpha: float, level: float) -> str:
    """The error rate of a claim, such as " (decided at an error rate of 0.36 %)".

    Empty where the interval printed beside it, which holds at `level`, has that rate.
    """
    if math.isclose(1 - alpha, level):
        return ""
    return f" (decided at an error rate of {100 * alpha:.2g} %)"


def sample(estimate: Estimate) -> str:
    """Such as "n = 720", or "n = 96 in 12 clusters of unequal size, worth 7.4 equal ones"."""
    text = f"n = {estimate.n}"
    if not is_worth_less(estimate.n, estimate.clusters):
        return text
    return f"{text}, worth {estimate.clusters:.1f} clusters of equal size"


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """Names joined for a sentence, the first few where they are many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"

"""Numbers held against a criterion's margin, by their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from scipy.optimize import brentq
from scipy.special import ndtr

from bias_audit.config.schema import Criterion
from bias_audit.results.numbers import Number
from bias_audit.statistics.estimate import Estimate, interval_at, quantile

Bounds = tuple[float, float]
POWER: Final = 0.8
"""Probability with which the images that would decide do so, and with which the smallest
detectable distance is detected."""
_NEVER: Final = 1e15
"""Times the images that are as good as infinitely many."""


@dataclass(frozen=True)
class Held:
    """The numbers of a criterion, by what their intervals say."""

    passing: tuple[Number, ...]
    """Within the margin."""
    failing: tuple[Number, ...]
    """Wholly beyond it, allowing for how many there are."""
    undecided: tuple[Number, ...]
    missing: tuple[Number, ...]

    @property
    def n_measured(self) -> int:
        """Numbers that have an interval."""
        return len(self.passing) + len(self.failing) + len(self.undecided)

    @property
    def n_examined(self) -> int:
        """All numbers."""
        return self.n_measured + len(self.missing)


def hold(criterion: Criterion, numbers: Sequence[Number]) -> Held:
    """Sort numbers into passing, failing, undecided and missing."""
    measured = [number for number in numbers if number.estimate is not None]
    passing = [number for number in measured if room(criterion, number) >= 0]
    failing = _failing(criterion, measured)
    return Held(
        passing=tuple(passing),
        failing=tuple(failing),
        undecided=tuple(n for n in measured if n not in passing and n not in failing),
        missing=tuple(number for number in numbers if number.estimate is None),
    )


def _failing(criterion: Criterion, measured: Sequence[Number]) -> list[Number]:
    """Holm's step-down procedure; all that are beyond at one step are rejected in it."""
    left, failing = list(measured), list[Number]()
    while left:
        beyond = [number for number in left if excess(criterion, number, len(left)) > 0]
        if not beyond:
            break
        failing += beyond
        left = [number for number in left if number not in beyond]
    return failing


def level_for(criterion: Criterion, m: int = 1) -> float:
    """Coverage that keeps the error rate over m numbers."""
    return 1 - (1 - criterion.level) / m


def measured(number: Number) -> Estimate:
    """The number's estimate.

    Raises:
        ValueError: It is missing.
    """
    if number.estimate is None:
        raise ValueError(f"{number.layer}: expected a measured number, {number.reason}")
    return number.estimate


def room(criterion: Criterion, number: Number) -> float:
    """How far the interval stays within the margin's nearer end; negative where it sticks out."""
    lower, upper = interval_at(measured(number), criterion.level)
    return _room((lower, upper), criterion)


def excess(criterion: Criterion, number: Number, m: int) -> float:
    """How far the whole interval, one of m, lies beyond the margin; else negative."""
    lower, upper = interval_at(measured(number), level_for(criterion, m))
    lowest, highest = criterion.margin
    above = -math.inf if highest is None else lower - highest
    below = -math.inf if lowest is None else lowest - upper
    return max(above, below)


def is_inside(criterion: Criterion, number: Number) -> bool:
    """Whether the value itself is allowed."""
    value = measured(number).value
    return _room((value, value), criterion) >= 0


def decisive_level(criterion: Criterion, number: Number, m: int) -> float:
    """Level of the interval that would settle a number, given the side its value is on."""
    return level_for(criterion, 1 if is_inside(criterion, number) else m)


def growth(criterion: Criterion, number: Number, m: int) -> float:
    """How many times the images would decide with a probability of `POWER` if the value held.

    Infinite on the margin itself. Value and interval are taken as normal ones whose variances
    shrink as images are added, while degrees of freedom grow.
    """
    estimate, level = measured(number), decisive_level(criterion, number, m)
    chance = partial(_chance_to_clear, estimate, _ends(criterion, estimate.value), level)
    most = 1.0
    while most < _NEVER and chance(most) < POWER:
        most *= 2
    least = most / 2
    while chance(least) >= POWER:
        least /= 2
    if most >= _NEVER:
        return math.inf
    return float(brentq(lambda times: chance(times) - POWER, least, most))


def _ends(criterion: Criterion, value: float) -> tuple[float, ...]:
    """Ends of the margin that an interval about a value must leave out to be decided."""
    lowest, highest = criterion.margin
    if lowest is not None and value < lowest:
        return (lowest,)
    if highest is not None and value > highest:
        return (highest,)
    return tuple(end for end in (lowest, highest) if end is not None)


def _chance_to_clear(
    estimate: Estimate, ends: Sequence[float], level: float, times: float
) -> float:
    """Chance that the interval of so many times the images leaves out all of the ends."""
    chances = [float(ndtr(_surplus(estimate, end, level, times))) for end in ends]
    return sum(chances) - (len(chances) - 1)


def _surplus(estimate: Estimate, end: float, level: float, times: float) -> float:
    """How far an end is expected to lie beyond the interval, over the value's standard error.

    Of a share, Wilson's interval reaches a quantile of its spread at the end, and chance varies
    with its spread at the value.
    """
    value, freedom = estimate.value, estimate.freedom
    alone = 1 - (1 - level) * estimate.choice
    reach = quantile(alone, None if freedom is None else freedom * times)
    distance = abs(value - end) * math.sqrt(times)
    if estimate.scale == "wilson" and 0 < end < 1:
        distance *= math.sqrt(estimate.counted)
        over, error = reach * math.sqrt(end * (1 - end)), math.sqrt(value * (1 - value))
    else:
        lower, upper = interval_at(estimate, level)
        half_width = value - lower if value > end else upper - value
        error = half_width / quantile(alone, freedom)
        over = reach * error
    rest = distance - over
    return rest / error if error > 0 else math.copysign(math.inf, rest)


def _room(bounds: Bounds, criterion: Criterion) -> float:
    lowest, highest = criterion.margin
    low = math.inf if lowest is None else bounds[0] - lowest
    high = math.inf if highest is None else highest - bounds[1]
    return min(low, high)

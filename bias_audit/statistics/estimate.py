"""The only number a report prints: a value with its interval; and score intervals of shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import scipy


def wilson_bounds(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval, without continuity correction.

    With a normal quantile it equals `scipy.stats.binomtest(k, n).proportion_ci(level, "wilson")`
    for whole counts; a share and an effective number need not be whole. Source: Wilson 1927, JASA
    22:209-212.

    The share is in [0, 1], `n` more than 0; the quantile is half the width of the interval in
    standard errors, such as 1.96. The bounds are in [0, 1].
    """
    z2 = quantile**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    lower = 0.0 if share <= 0 else max(0.0, centre - half)
    upper = 1.0 if share >= 1 else min(1.0, centre + half)
    return lower, upper


def wilson_interval(share: float, n: float, *, level: float) -> tuple[float, float]:
    """Wilson's score interval of this coverage, by a normal quantile; see `wilson_bounds`."""
    return wilson_bounds(share, n, float(scipy.special.ndtri((1 + level) / 2)))


def agreeing_pairs(n: float, quantile: float) -> float:
    """Half the width of the score interval of a difference of paired shares that all agree.

    Tango's interval without any discordant pair. Source: Tango 1998, Statistics in Medicine
    17:891-908. `n` is infinite where pairs are not counted, for a width of 0.
    """
    return quantile**2 / (n + quantile**2) if math.isfinite(n) else 0.0


def worst_case(
    values: Sequence[float | None], summary: Literal["mean", "gap"]
) -> tuple[float, float]:
    """Sharp bounds of a summary over groups: every value within them is possible, none beyond.

    They hold for the groups' values as measured; the uncertainty of those is in their intervals.
    Values are None where a group was not measured; "mean" (of recalls: the balanced accuracy)
    weighs all groups alike, "gap" is the largest minus the smallest.

    Raises:
        ValueError: There is no group, or a value lies beyond [0, 1].
    """
    known = [value for value in values if value is not None]
    if not values or any(not 0 <= value <= 1 for value in known):
        raise ValueError("expected values of at least one group within [0, 1]")
    missing = len(values) - len(known)
    if summary == "mean":  # extreme with all unmeasured values at one limit
        return sum(known) / len(values), (sum(known) + missing) / len(values)
    own = max(known) - min(known) if known else 0.0
    if missing == 1:  # a single value cannot be at both limits
        return own, max(*known, 1 - min(known)) if known else 0.0
    return own, 1.0 if missing else own


Scale = Literal["identity", "logit", "wilson", "paired"]


@dataclass(frozen=True)
class Estimate:
    """A value, the interval that covers it at `level`, and what both rest on."""

    value: float
    lower: float
    upper: float
    level: float
    """Coverage of the interval, such as 0.95."""
    n: int
    """Independent units behind the value: images, or clusters of images of one person."""
    method: str
    """How the interval was made, such as "cluster bootstrap over images"."""
    scale: Scale = "identity"
    """On which the interval is symmetric. "wilson" is Wilson's interval of `value` and `counted`;
    "paired" is a difference of shares, whose interval is at least Tango's of `counted` pairs that
    all agree; "logit" keeps bounds at other levels within [0, 1]."""
    effective: float | None = None
    """Observations that the score interval counts, where not `n`."""
    freedom: float | None = None
    """Degrees of freedom of Student's t behind the interval; None where it is a normal one."""
    clusters: float | None = None
    """Effective number of independent clusters, from their sizes: what unequal clusters are worth
    in clusters of one size; None where it was not found."""
    choice: float = 1.0
    """Share of the error rate that the interval has, because its layer was chosen among several by
    what was measured there: the interval has its `level` for the layer chosen; 1 where none was
    chosen."""

    @property
    def counted(self) -> float:
        """Observations that a score interval counts."""
        return self.n if self.effective is None else self.effective


_TINY: Final = float(np.finfo(np.float64).tiny)


def quantile(level: float, freedom: float | None = None) -> float:
    """The quantile of a two-sided interval, such as 1.96 for 0.95.

    By Student's t of so many degrees of freedom; None: by the normal distribution.
    """
    tail = (1 - level) / 2
    return -float(
        scipy.special.ndtri(tail) if freedom is None else scipy.special.stdtrit(freedom, tail)
    )


def interval_at(estimate: Estimate, level: float) -> tuple[float, float]:
    """The bounds that an estimate has at another level.

    On the scale "wilson", Wilson's interval of `value` and `counted`, exactly. Otherwise each
    bound's distance from the value, on the estimate's scale, is multiplied by the ratio of the
    quantiles of the two levels, so that an interval that is wider on one side stays so; on the
    scale "paired", it is never less than that of pairs that all agree. A share of exactly 0 or 1
    has no logit; there the distances are measured on the share itself and the bounds kept within
    [0, 1].

    They are the estimate's own at its own level, and nested: a higher level never gives a narrower
    one.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a coverage between 0 and 1, got {level}")
    if level == estimate.level:
        return estimate.lower, estimate.upper
    own = own_quantile(estimate, level)
    if estimate.scale == "wilson":
        return wilson_bounds(estimate.value, estimate.counted, own)
    ratio = own / own_quantile(estimate, estimate.level)
    value, lower, upper = estimate.value, estimate.lower, estimate.upper
    on_logit = estimate.scale == "logit" and 0 < value < 1
    if on_logit:
        value, lower, upper = (
            float(scipy.special.logit(number)) for number in (value, lower, upper)
        )
    least = agreeing_pairs(estimate.counted, own) if estimate.scale == "paired" else 0.0
    # a bound on the wrong side of the value stays
    low = value - max(least, (value - lower) * ratio) if lower <= value else lower
    high = value + max(least, (upper - value) * ratio) if upper >= value else upper
    if on_logit:
        return float(scipy.special.expit(low)), float(scipy.special.expit(high))
    if estimate.scale == "identity":
        return low, high
    return max(-1.0 if estimate.scale == "paired" else 0.0, low), min(1.0, high)


def at_level(estimate: Estimate, level: float) -> Estimate:
    """The estimate with its interval at another level, its method saying so."""
    if level == estimate.level:
        return estimate
    lower, upper = interval_at(estimate, level)
    method = f"{estimate.method}, from {100 * estimate.level:g} % to {100 * level:.6g} %"
    return replace(estimate, lower=lower, upper=upper, level=level, method=method)


def reflected(estimate: Estimate, about: float) -> Estimate:
    """`about` minus the estimate: of a share the other share, about 1; about 0 its negative."""
    value, lower, upper = (about - x for x in (estimate.value, estimate.upper, estimate.lower))
    return replace(estimate, value=value, lower=lower, upper=upper)


def standard_error(estimate: Estimate) -> float:
    """Half the width of the interval over its quantile; infinite for an open interval."""
    width = estimate.upper - estimate.lower
    own = own_quantile(estimate, estimate.level)
    return width / 2 / own if math.isfinite(width) else math.inf


def allowing_for_choice(estimate: Estimate, choice: float) -> Estimate:
    """The estimate of a layer chosen by estimates like it, at the level it has alone.

    `choice` is the share of the error rate that is left, see `inference.choice_among`.
    """
    lower, upper = interval_at(estimate, 1 - (1 - estimate.level) * choice)
    method = f"{estimate.method}, allowing for the choice of the layer"
    return replace(estimate, lower=lower, upper=upper, choice=choice, method=method)


def p_of_no_difference(estimate: Estimate) -> float:
    """Two-sided, from the interval's distance to the value on the side of 0; never 0."""
    value = estimate.value
    reach = value - estimate.lower if value > 0 else estimate.upper - value
    if value == 0 or reach <= 0:
        return 1.0 if value == 0 else _TINY
    found = abs(value) / reach * own_quantile(estimate, estimate.level)
    freedom, special = estimate.freedom, scipy.special
    tail = special.ndtr(-found) if freedom is None else special.stdtr(freedom, -found)
    return min(1.0, max(_TINY, float(2 * tail) / estimate.choice))


def own_quantile(estimate: Estimate, level: float) -> float:
    """Of an estimate's interval at a level, by its degrees of freedom and the choice of layer."""
    return quantile(1 - (1 - level) * estimate.choice, estimate.freedom)

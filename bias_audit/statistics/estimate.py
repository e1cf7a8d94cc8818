"""The only number a report prints: a value with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import scipy

from bias_audit.statistics.proportions import agreeing_pairs, wilson_bounds

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

"""The interval of an estimate at another coverage than it was made for."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.special import expit, logit
from scipy.stats import norm

from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.proportions import wilson_interval


def quantile(level: float) -> float:
    """The normal quantile of a two-sided interval, such as 1.96 for 0.95."""
    return float(norm.ppf((1 + level) / 2))


def interval_at(estimate: Estimate, level: float) -> tuple[float, float]:
    """The bounds that an estimate has at another level.

    On the scale "wilson", Wilson's interval of `value` and `counted`, exactly. Otherwise each
    bound's distance from the value, on the estimate's scale, is multiplied by the ratio of normal
    quantiles of the two levels: the estimate is taken to be normal on that scale, and an interval
    that is wider on one side stays so. A share of exactly 0 or 1 has no logit; there the distances
    are measured on the share itself and the bounds kept within [0, 1].

    Args:
        estimate: A value and its interval.
        level: Coverage asked for, in (0, 1).

    Returns:
        Lower and upper bound; the estimate's own at its own level. Intervals are nested: a higher
        level never gives a narrower one.

    Raises:
        ValueError: `level` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a coverage between 0 and 1, got {level}")
    if level == estimate.level:
        return estimate.lower, estimate.upper
    if estimate.scale == "wilson":
        return wilson_interval(estimate.value, estimate.counted, level=level)
    ratio = quantile(level) / quantile(estimate.level)
    if estimate.scale == "identity":
        return _stretched(estimate.value, estimate.lower, estimate.upper, ratio)
    if 0 < estimate.value < 1:
        value, lower, upper = (
            float(logit(number)) for number in (estimate.value, estimate.lower, estimate.upper)
        )
        lower, upper = _stretched(value, lower, upper, ratio)
        return float(expit(lower)), float(expit(upper))
    lower, upper = _stretched(estimate.value, estimate.lower, estimate.upper, ratio)
    return max(0.0, lower), min(1.0, upper)


def at_level(estimate: Estimate, level: float) -> Estimate:
    """The estimate with its interval at another level, its method saying so."""
    if level == estimate.level:
        return estimate
    lower, upper = interval_at(estimate, level)
    method = f"{estimate.method}, from {100 * estimate.level:g} % to {100 * level:.6g} %"
    return replace(estimate, lower=lower, upper=upper, level=level, method=method)


def standard_error(estimate: Estimate) -> float:
    """Half the width of the interval over its normal quantile; infinite for an open interval."""
    width = estimate.upper - estimate.lower
    return width / 2 / quantile(estimate.level) if math.isfinite(width) else math.inf


def _stretched(value: float, lower: float, upper: float, ratio: float) -> tuple[float, float]:
    """Bounds at `ratio` times their distance; one on the wrong side of the value stays."""
    low = value - (value - lower) * ratio if lower < value else lower
    high = value + (upper - value) * ratio if upper > value else upper
    return low, high

"""Score intervals of shares, and of differences of shares that never differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm


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
    return wilson_bounds(share, n, float(norm.ppf((1 + level) / 2)))


def agreeing_pairs(n: float, quantile: float) -> float:
    """Half the width of the score interval of a difference of paired shares that all agree.

    Tango's interval without any discordant pair. Source: Tango 1998, Statistics in Medicine
    17:891-908. `n` is infinite where pairs are not counted, for a width of 0.
    """
    return quantile**2 / (n + quantile**2) if math.isfinite(n) else 0.0


Summary = Literal["mean", "minimum", "maximum", "gap"]


@dataclass(frozen=True)
class Bounds:
    """All values that the summary may have; equal where every group is measured."""

    lower: float
    upper: float
    n_unmeasured: int


def worst_case(
    values: Sequence[float | None],
    summary: Summary,
    *,
    weights: Sequence[float] | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Bounds:
    """Sharp bounds of a summary over groups: every value within them is possible, none beyond.

    They hold for the groups' values as measured; the uncertainty of those is in their intervals.
    Values are None where a group was not measured. "mean" is over groups with weights that are not
    negative (default: equal; of recalls it is the balanced accuracy), "gap" the largest minus the
    smallest; an unmeasured value lies between the limits.

    Raises:
        ValueError: There is no group, a value lies beyond the limits, or weights do not fit.
    """
    low, high = limits
    known = [value for value in values if value is not None]
    if not values or not low < high or any(not low <= value <= high for value in known):
        raise ValueError(f"expected values of at least one group within [{low}, {high}]")
    missing = len(values) - len(known)
    if summary == "gap":
        own = max(known) - min(known) if known else 0.0
        most = own if missing == 0 else high - low
        if missing == 1:  # a single value cannot be at both limits
            most = max(max(known) - low, high - min(known)) if known else 0.0
        return Bounds(own, most, missing)
    # mean, smallest and largest value are extreme with all unmeasured values at one limit
    ends = [np.array([end if value is None else value for value in values]) for end in limits]
    if summary == "mean":
        n = len(values)
        shares = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
        if shares.shape != (n,) or (shares < 0).any() or not shares.sum() > 0:
            raise ValueError(f"expected {n} weights that are not negative and not all 0")
        shares = shares / shares.sum()
        lower, upper = (float(shares @ end) for end in ends)
    else:
        pick = np.min if summary == "minimum" else np.max
        lower, upper = (float(pick(end)) for end in ends)
    return Bounds(lower, upper, missing)

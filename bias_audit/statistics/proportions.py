"""Score intervals of shares, and of differences of shares that never differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

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

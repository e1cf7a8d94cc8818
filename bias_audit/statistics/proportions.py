"""Score intervals of shares, and of differences of shares that never differ."""

from __future__ import annotations

import math

from scipy.stats import norm


def wilson_bounds(share: float, n: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval, without continuity correction.

    With a normal quantile it equals `scipy.stats.binomtest(k, n).proportion_ci(level, "wilson")`
    for whole counts; a share and an effective number need not be whole. Source: Wilson 1927, JASA
    22:209-212.

    Args:
        share: Observed share, in [0, 1].
        n: Independent observations, more than 0.
        quantile: Half the width of the interval in standard errors, such as 1.96.

    Returns:
        Lower and upper bound, in [0, 1].
    """
    z2 = quantile**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    lower = 0.0 if share <= 0 else max(0.0, centre - half)
    upper = 1.0 if share >= 1 else min(1.0, centre + half)
    return lower, upper


def wilson_interval(share: float, n: float, *, level: float) -> tuple[float, float]:
    """Wilson's score interval of this coverage, by a normal quantile; see `wilson_bounds`.

    Args:
        share: Observed share, in [0, 1].
        n: Independent observations, more than 0.
        level: Coverage, such as 0.95.
    """
    return wilson_bounds(share, n, float(norm.ppf((1 + level) / 2)))


def agreeing_pairs(n: float, quantile: float) -> float:
    """Half the width of the score interval of a difference of paired shares that all agree.

    Tango's interval without any discordant pair. Source: Tango 1998, Statistics in Medicine
    17:891-908.

    Args:
        n: Independent pairs; infinite where they are not counted, for a width of 0.
        quantile: Half the width of the interval in standard errors, such as 1.96.
    """
    return quantile**2 / (n + quantile**2) if math.isfinite(n) else 0.0

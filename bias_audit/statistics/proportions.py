"""Wilson's interval for a share."""

from __future__ import annotations

import math

from scipy.stats import norm

from bias_audit.statistics.estimate import Estimate

METHOD = "Wilson score interval"


def wilson_interval(share: float, n: float, *, level: float) -> tuple[float, float]:
    """Wilson's score interval, without continuity correction.

    Equals `scipy.stats.binomtest(k, n).proportion_ci(level, "wilson")` for whole counts; a share
    and an effective number need not be whole. Source: Wilson 1927, JASA 22:209-212.

    Args:
        share: Observed share, in [0, 1].
        n: Independent observations, more than 0.
        level: Coverage, such as 0.95.

    Returns:
        Lower and upper bound, in [0, 1].
    """
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    lower = 0.0 if share <= 0 else max(0.0, centre - half)
    upper = 1.0 if share >= 1 else min(1.0, centre + half)
    return lower, upper


def proportion(
    count: int,
    total: int,
    *,
    level: float,
    n_clusters: int | None = None,
    widened: float = 1.0,
) -> Estimate | None:
    """A share with Wilson's interval.

    Args:
        count: Images that have the property.
        total: Images asked.
        level: Coverage, such as 0.95.
        n_clusters: Independent units among the images, where fewer: the interval then takes the
            images of one cluster to say one thing only, which is conservative.
        widened: Factor on the standard error, such as `inference.widening` of cross-validated
            predictions; the interval counts fewer observations accordingly.

    Returns:
        The share; None when there is no image.
    """
    if total == 0:
        return None
    n = total if n_clusters is None else n_clusters
    share = count / total
    effective = n / widened**2
    lower, upper = wilson_interval(share, effective, level=level)
    method = METHOD if n == total else f"{METHOD}, clusters of images counted once"
    if widened > 1:
        method += ", widened for refitting"
    return Estimate(
        share,
        lower,
        upper,
        level=level,
        n=n,
        method=method,
        scale="wilson",
        effective=effective if widened > 1 else None,
    )

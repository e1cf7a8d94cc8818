"""How much a number exceeds the strongest of several baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    estimate,
    joint_draws,
    quantile_for,
    quantile_of,
)

_DRAWS = 4000


def lift_over(
    differences: Mapping[str, Measured], *, level: float, rng: np.random.Generator
) -> Estimate:
    """The smallest of several paired differences, allowing for which of them is the smallest.

    The smallest of several estimates lies below the smallest true difference on average, the more
    so the nearer the baselines are to each other. So, after Chernozhukov, Lee & Rosen 2013
    (Econometrica 81:667-737), each difference is raised by a common number of its standard errors
    before the smallest is taken: by the median of the largest joint error for the value, and by
    its upper quantile for the upper bound. Only baselines that may be the strongest count. Where
    several are equally strong the value is about as often too low as too high; where others are
    one or two errors weaker, it is too high by up to half an error. The lower bound is the lowest
    of all, each by itself (intersection-union, Berger 1982), which needs no allowance.

    Args:
        differences: A number minus each baseline, over the same images, by the baseline's name.
        level: Coverage of the interval.
        rng: Source of joint draws.
    """
    measures = list(differences.values())
    if len(measures) == 1:
        return estimate(measures[0], level=level)
    draws = joint_draws(measures, _DRAWS, rng)
    value, upper = (
        _raised(measures, _largest(draws[:, _contenders(measures, reach)], share))
        for share, reach in ((0.5, 0.75), ((1 + level) / 2, 2.0))
    )
    lower = min(bounds(m, quantile_for(m, level))[0] for m in measures)
    weakest = min(measures, key=lambda measure: measure.value)
    return Estimate(
        value,
        min(lower, value),
        max(upper, value),
        level=level,
        n=weakest.n,
        method=f"smallest of {len(measures)} paired differences (intersection bounds), "
        f"{weakest.unit}",
        freedom=min(measure.freedom for measure in measures),
        clusters=min(measure.clusters for measure in measures),
        choice=weakest.choice,
    )


def _largest(draws: FloatArray, share: float) -> float:
    """A quantile of the largest of joint errors; of a single one, without the draws' chance."""
    if draws.shape[1] == 1:
        return float(ndtri(share))
    return float(np.quantile(draws.max(axis=1), share))


def _raised(measures: Sequence[Measured], normal: float) -> float:
    """The smallest of the differences, each raised by so many of its standard errors."""
    if normal <= 0:  # the median of a single error
        return min(m.value for m in measures)
    return min(bounds(m, quantile_of(m, normal))[1] for m in measures)


def _contenders(measures: Sequence[Measured], reach: float) -> list[int]:
    """Differences that may be the smallest: those not far above it, by their own error.

    As moments are selected by Andrews & Soares 2010 (Econometrica 78:119-157), a difference counts
    unless it lies above the smallest by some multiple of sqrt(log n) standard errors, n clusters:
    for an upper bound, which must not miss one, by two; for the value, which baselines that are
    weaker would raise, by three quarters.
    """
    least = min(measures, key=lambda measure: measure.value)
    return [
        place
        for place, measure in enumerate(measures)
        if (above := measure - least).value
        <= reach * np.sqrt(np.log(max(2.0, above.clusters))) * above.standard_error
    ]

"""Intervals over repetitions of a computation that is random as a whole."""

from __future__ import annotations

import numpy as np
from scipy import stats

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate

_ANYWHERE = (-np.inf, np.inf)


def mean_over_repetitions(
    values: FloatArray, *, level: float, within: tuple[float, float] = _ANYWHERE
) -> Estimate:
    """Mean of independent repetitions, with Student's t interval.

    Args:
        values: One per repetition, shape (n_repetitions,), at least two.
        level: Coverage of the interval.
        within: Smallest and largest value there can be; the interval ends there.
    """
    return _estimate(values, level, within, f"Student's t over {len(values)} repetitions")


def mean_over_pairs(
    values: FloatArray, *, level: float, within: tuple[float, float] = _ANYWHERE
) -> Estimate:
    """Mean of a number that every pair of independent repetitions has.

    Pairs share repetitions, so the interval is Student's t over the jackknife's pseudo-values of
    the repetitions (Arvesen 1969, Annals of Mathematical Statistics 40:2076-2100).

    Args:
        values: Shape (n_repetitions, n_repetitions), symmetric, at least three; the diagonal is
            not looked at.
        level: Coverage of the interval.
        within: Smallest and largest value there can be; the interval ends there.
    """
    n = len(values)
    of_each = values.sum(axis=1) - np.diag(values)
    total = of_each.sum()
    mean = total / (n * (n - 1))
    without_one = (total - 2 * of_each) / ((n - 1) * (n - 2))
    method = f"Student's t over jackknife pseudo-values of {n} repetitions"
    return _estimate(n * mean - (n - 1) * without_one, level, within, method)


def _estimate(
    values: FloatArray, level: float, within: tuple[float, float], method: str
) -> Estimate:
    n, mean = len(values), float(values.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    lower, upper = max(mean - half, within[0]), min(mean + half, within[1])
    return Estimate(mean, lower, upper, level=level, n=n, method=method)

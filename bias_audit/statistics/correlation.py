"""Correlation over images, with what every image contributes to it."""

from __future__ import annotations

import numpy as np

from bias_audit.arrays import FloatArray
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured, quantile_for
from bias_audit.statistics.influence import Statistic

_FEWEST = 3
_CONSTANT = 1e-7
_NEAREST_ONE = 1 - 1e-9


def pearson(one: FloatArray, other: FloatArray) -> Statistic | None:
    """Pearson's correlation; influences after Devlin, Gnanadesikan & Kettenring 1975.

    Source of the influences: Biometrika 62:531-545.

    Args:
        one: Shape (n_images,).
        other: Shape (n_images,).

    Returns:
        None for fewer than three images, or where either is constant up to rounding.
    """
    n = len(one)
    if n < _FEWEST or any(_is_constant(values) for values in (one, other)):
        return None
    x, y = ((values - values.mean()) / values.std() for values in (one, other))
    value = float(np.clip((x * y).mean(), -1, 1))
    influence = (x * y - value * (x**2 + y**2) / 2) / n * np.sqrt(n / (n - 1))
    return Statistic(value, np.asarray(influence, np.float64), np.full(n, 1 / n))


def _is_constant(values: FloatArray) -> bool:
    return bool(values.std() <= _CONSTANT * np.abs(values).max())


def correlation_estimate(measured: Measured, *, level: float) -> Estimate:
    """A correlation with an interval that is symmetric on Fisher's z scale, so within [-1, 1]."""
    value = float(np.clip(measured.value, -_NEAREST_ONE, _NEAREST_ONE))
    half = quantile_for(measured, level) * measured.standard_error / (1 - value**2)
    lower, upper = (float(np.tanh(np.arctanh(value) + side * half)) for side in (-1, 1))
    return Estimate(
        measured.value,
        min(lower, measured.value),
        max(upper, measured.value),
        level=level,
        n=measured.n,
        method=f"clustered influence on Fisher's z scale, Student's t, {measured.unit}",
        freedom=measured.freedom,
        clusters=measured.clusters,
        choice=measured.choice,
    )

"""How strongly two groups differ: at every unit, and over the units of a region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from bias_audit.analyses.mapping.cluster_permutation import TwoGroups
from bias_audit.groups import IntArray
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]

_UNITS = 256


def differences_by_unit(
    groups: TwoGroups, scale: FloatArray, units: Sequence[int] | None = None
) -> tuple[FloatArray, FloatArray]:
    """Standardised mean difference of units with strata held constant, and its error.

    Args:
        groups: The images.
        scale: Standard deviation within intersections, shape (n_units,); a unit with 0 gets 0.
        units: Which; default: all.

    Returns:
        Both of shape (n_units asked for,). The error allows for unequal spread and for clusters of
        images (Liang & Zeger 1986).
    """
    asked = np.arange(len(scale)) if units is None else np.array(units)
    value, error = np.zeros(len(asked)), np.zeros(len(asked))
    for first in range(0, len(asked), _UNITS):
        rows = slice(first, first + _UNITS)
        own = scale[asked[rows]]
        found = _difference(groups, groups.centred(asked[rows]).astype(np.float64))
        for result, total in zip((value, error), found, strict=True):
            np.divide(total, own, out=result[rows], where=own > 0)
    return value, error


def region_effect(
    groups: TwoGroups, units: IntArray, scale: FloatArray, *, level: float
) -> Estimate | None:
    """Mean over a region's units of the standardised mean difference, with strata held constant.

    Args:
        groups: Images that did not choose the region, or the interval ignores the choice.
        units: Of the region.
        scale: Standard deviation within intersections, shape (n_units,).
        level: Coverage of the interval.

    Returns:
        None without two clusters of images of each group, or without spread.
    """
    units = units[scale[units] > 0]
    values = groups.centred(units).astype(np.float64) / scale[units]
    value, error = _difference(groups, values.mean(axis=1, keepdims=True))
    n = len(np.unique(groups.clusters))
    if n < 4 or not error[0] > 0:  # noqa: PLR2004
        return None
    half = float(student.isf((1 - level) / 2, n - 2) * error[0])
    center = float(value[0])
    return Estimate(
        center,
        center - half,
        center + half,
        level=level,
        n=n,
        method="cluster-robust standard error, Student's t",
    )


def _difference(groups: TwoGroups, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Difference of centred values and its standard error, both of shape (n_columns,)."""
    contrast = groups.contrasts(groups.labels[None])[0].astype(np.float64)
    weight = float((contrast**2).sum())
    difference = contrast @ values / weight
    influence = contrast[:, None] * (values - contrast[:, None] * difference) / weight
    numbers, cluster = np.unique(groups.clusters, return_inverse=True)
    sums = np.zeros((len(numbers), values.shape[1]))
    np.add.at(sums, cluster, influence)
    n = len(numbers)
    freedom = len(values) / groups.freedom * n / max(1, n - 1)
    return difference, np.sqrt((sums**2).sum(axis=0) * freedom)

"""How strongly two groups differ: at every unit, and over the units of a region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from bias_audit.analyses.mapping.cluster_permutation import TwoGroups
from bias_audit.analyses.mapping.welch import Welch
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.estimate import Estimate

_UNITS = 256


def differences_by_unit(
    groups: TwoGroups, scale: FloatArray, units: Sequence[int] | None = None
) -> Welch:
    """Standardised mean differences of units with strata held constant, and their errors.

    Args:
        groups: The images.
        scale: Standard deviation within intersections, shape (n_units,); a unit with 0 gets 0.
        units: Which; default: all.

    Returns:
        Each of shape (n_units asked for,).
    """
    asked = np.arange(len(scale)) if units is None else np.array(units)
    value, error, freedom = np.zeros((3, len(asked)))
    labelled = groups.labelled(groups.labels[None])
    for first in range(0, len(asked), _UNITS):
        rows = slice(first, first + _UNITS)
        own = scale[asked[rows]]
        found = labelled.differences(groups.centred(asked[rows]))
        for result, total in ((value, found.value[0]), (error, found.error[0])):
            np.divide(total, own, out=result[rows], where=own > 0)
        freedom[rows] = found.freedom[0]
    return Welch(value, error, freedom)


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
    values = (groups.centred(units) / scale[units]).mean(axis=1, keepdims=True)
    found = groups.labelled(groups.labels[None]).differences(values.astype(np.float32))
    value, error, freedom = (float(x[0, 0]) for x in (found.value, found.error, found.freedom))
    n = len(np.unique(groups.clusters))
    if n < 4 or not error > 0:  # noqa: PLR2004
        return None
    half = float(student.isf((1 - level) / 2, freedom)) * error
    return Estimate(
        value,
        value - half,
        value + half,
        level=level,
        n=n,
        method="cluster-robust standard error, Student's t with Welch's degrees of freedom",
    )

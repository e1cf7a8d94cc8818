"""How surely something differs from no effect, on one scale without a unit.

A value lies some times the reach of its interval away from no effect; the reach is the distance
from the value to its bound on the side of no effect. Sureness is that multiple minus 1: 0 where
the interval just includes no effect, 1 where it would be twice as wide before it did. A share, an
AUC, bits, and standard deviations thus compare, and an interval that allows for more hypotheses
reaches further, so it counts less. For a normal interval sureness is z(p) / z(alpha) - 1, which is
what a finding that rests on a test alone has.
"""

from __future__ import annotations

from typing import Final

from scipy.stats import norm

from bias_audit.statistics.estimate import Estimate

MOST: Final = 100.0
"""Sureness of an interval without width that excludes no effect; none exceeds it."""
LEAST: Final = 1e-6
"""Of what another interval or test decided than the one whose sureness is shown."""


def sureness_above(value: float, bound: float, null: float = 0.0) -> float:
    """Of a claim that a number exceeds no effect.

    `bound` is the lower bound that decides the claim, `null` what no effect gives. In [0, `MOST`];
    0 exactly where the bound does not exceed `null`.
    """
    if bound <= null:
        return 0.0
    reach = value - bound
    return min(MOST, (bound - null) / reach) if reach > 0 else MOST


def sureness(estimate: Estimate, null: float = 0.0) -> float:
    """Of a claim that a number differs from no effect, in either direction.

    The interval is the one that decides the claim. In [0, `MOST`]; 0 exactly where it includes
    `null`, what no effect gives.
    """
    return max(
        sureness_above(estimate.value, estimate.lower, null),
        sureness_above(-estimate.value, -estimate.upper, -null),
    )


def sureness_of_p(p_value: float, alpha: float) -> float:
    """Of a claim that rests on a test alone, by two-sided quantiles of the normal distribution.

    The p-value is adjusted for the family that `alpha` is the error rate of. In [0, `MOST`]; 0
    exactly where it is not below `alpha`.
    """
    return float(min(MOST, max(0.0, norm.isf(p_value / 2) / norm.isf(alpha / 2) - 1)))


def weight_of(found: float, *, is_decided: bool) -> float:
    """The weight of a finding that something else decides than the interval its sureness is of.

    Sureness, at least `LEAST`, where the finding is decided, such as by a p-value adjusted for a
    family; else 0.
    """
    return max(LEAST, found) if is_decided else 0.0

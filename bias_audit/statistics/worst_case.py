"""What a summary over groups could be at worst and at best when some groups are unmeasured.

Manski 1989/2003 (Partial Identification of Probability Distributions): an unmeasured value lies
anywhere within its limits, and nothing is assumed about why it is unmeasured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

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

    Args:
        values: Of each group, None where it was not measured.
        summary: "mean" (of recalls: balanced accuracy), "minimum", "maximum", or "gap", the
            largest minus the smallest.
        weights: Of the groups in the mean, not negative; default: equal.
        limits: Between which an unmeasured value lies.

    Raises:
        ValueError: There is no group, a value lies beyond the limits, or weights do not fit.
    """
    low, high = limits
    known = [value for value in values if value is not None]
    if not values or not low < high or any(not low <= value <= high for value in known):
        raise ValueError(f"expected values of at least one group within [{low}, {high}]")
    filled = [
        np.array([end if value is None else value for value in values], dtype=np.float64)
        for end in limits
    ]
    missing = len(values) - len(known)
    if summary == "gap":
        return Bounds(*_gap(known, missing, low=low, high=high), n_unmeasured=missing)
    if summary == "mean":
        shares = _shares(weights, len(values))
        ends = [float(shares @ array) for array in filled]
    else:
        pick = np.min if summary == "minimum" else np.max
        ends = [float(pick(array)) for array in filled]
    return Bounds(ends[0], ends[1], missing)


def _gap(known: Sequence[float], missing: int, *, low: float, high: float) -> tuple[float, float]:
    """The gap is smallest with all unmeasured values amid the measured ones."""
    own = max(known) - min(known) if known else 0.0
    if missing == 0:
        return own, own
    if missing == 1:  # a single value cannot be at both limits
        return own, max(max(known) - low, high - min(known)) if known else 0.0
    return own, high - low


def _shares(weights: Sequence[float] | None, n_groups: int) -> np.ndarray[tuple[int], np.dtype]:
    own = np.ones(n_groups) if weights is None else np.asarray(weights, dtype=np.float64)
    if own.shape != (n_groups,) or (own < 0).any() or not own.sum() > 0:
        raise ValueError(f"expected {n_groups} weights that are not negative and not all 0")
    return np.asarray(own / own.sum())

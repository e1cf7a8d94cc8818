"""From simulated audits to rows: shares with Monte-Carlo intervals, held against a tolerance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bias_audit.arrays import FloatArray
from bias_audit.results.selftest import Outcome
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.proportions import wilson_interval
from bias_audit.statistics.repetitions import mean_over_repetitions

LEVEL = 0.95
"""Coverage of Monte-Carlo intervals."""


@dataclass(frozen=True)
class Tolerance:
    """What a check accepts."""

    lowest: float
    highest: float

    def outcome(self, estimate: Estimate) -> Outcome:
        """OK within, NOT OK beyond, otherwise UNDECIDED."""
        if estimate.lower > self.highest or estimate.upper < self.lowest:
            return "NOT OK"
        inside = estimate.lower >= self.lowest and estimate.upper <= self.highest
        return "OK" if inside else "UNDECIDED"

    def outcome_of_all(self, whole: Estimate, parts: Mapping[str, Estimate]) -> Outcome:
        """That of the whole, unless a part is beyond."""
        if any(self.outcome(part) == "NOT OK" for part in parts.values()):
            return "NOT OK"
        return self.outcome(whole)


def share(hits: FloatArray) -> Estimate:
    """A mean of numbers in [0, 1] over simulated audits, with Wilson's interval.

    Numbers of one audit may depend on each other, so that they count for less; numbers between 0
    and 1 vary less than the interval takes them to, which is conservative.

    Args:
        hits: Shape (n_audits,) or (n_audits, n_per_audit).
    """
    by_audit = hits.reshape(len(hits), -1)
    n_audits, each = by_audit.shape
    value, n = float(by_audit.mean()), float(by_audit.size)
    if each > 1 and n_audits > 1:
        spread = float(by_audit.mean(axis=1).var(ddof=1)) / n_audits
        if spread > 0:
            n = float(np.clip(value * (1 - value) / spread, n_audits, n))
    lower, upper = wilson_interval(value, n, level=LEVEL)
    return Estimate(value, lower, upper, LEVEL, by_audit.size, "Wilson, over simulated audits")


def mean(numbers: FloatArray) -> Estimate:
    """A mean of numbers over simulated audits with Student's t interval, shape (n_audits,)."""
    return mean_over_repetitions(numbers, level=LEVEL)


def largest(numbers: FloatArray) -> Estimate:
    """A largest number, which has no Monte-Carlo interval."""
    value = float(numbers.max())
    return Estimate(value, value, value, LEVEL, len(numbers), "largest of all")

"""What the self-test found: the audit's own code on simulated activations."""

from __future__ import annotations

from typing import Literal

from bias_audit.shapes.shape import Frozen
from bias_audit.statistics.estimate import Estimate

Outcome = Literal["OK", "NOT OK", "UNDECIDED"]
Scale = Literal["share", "number"]


class SelfTestPart(Frozen):
    """One of the conditions that a row sums up."""

    name: str
    """Such as "strong"."""
    estimate: Estimate
    """With its Monte-Carlo interval."""


class SelfTestRow(Frozen):
    """One check."""

    check: str
    """What was checked, such as "95 % intervals of macro AUC cover"."""
    condition: str
    """Of the simulated audits, such as "30 per group"."""
    expected: str
    """In words, with what is tolerated."""
    scale: Scale
    """Whether `estimate` is a share of simulated audits, to print in percent, or a number."""
    estimate: Estimate
    """What was found, with its Monte-Carlo interval; the interval of a number that is not
    estimated, such as a largest difference, is that number."""
    trials: int
    """Simulated audits, or numbers of theirs, that the estimate rests on."""
    seconds: float
    outcome: Outcome
    """OK where the interval lies within what is tolerated, NOT OK where it lies beyond, for all
    parts or for one of them; UNDECIDED where trials are too few to say."""
    parts: tuple[SelfTestPart, ...] = ()


class SelfTest(Frozen):
    """All checks, and what they were made with."""

    mode: Literal["full", "quick"]
    seed: int
    date: str
    """ISO 8601, UTC."""
    seconds: float
    versions: dict[str, str]
    """Of the tool and of the libraries that compute."""
    code: str
    """Digest of all code that the self-test runs."""
    rows: tuple[SelfTestRow, ...]

    @property
    def not_ok(self) -> tuple[SelfTestRow, ...]:
        """The checks that failed."""
        return tuple(row for row in self.rows if row.outcome == "NOT OK")


class PowerPoint(Frozen):
    """Simulated audits of one planted effect."""

    auc: float
    """Population AUC of the best direction."""
    claimed: Estimate
    """Share of audits that claim linear decodability."""


class PowerCurve(Frozen):
    """Effects from none to strong, at one number of images."""

    per_group: int
    """Images of each of two groups."""
    points: tuple[PowerPoint, ...]

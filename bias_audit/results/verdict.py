"""What became of a criterion on one backbone."""

from __future__ import annotations

from typing import Literal

from bias_audit.config.schema import Criterion
from bias_audit.groups import Group
from bias_audit.shapes.shape import Frozen
from bias_audit.statistics.estimate import Estimate

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class Deciding(Frozen):
    """The number that settled a verdict, or that stands in the way of one."""

    layer: str
    group: Group | None
    """None where the number is about all groups."""
    estimate: Estimate | None
    """With the interval that was compared with the margin; None where it is missing."""
    reason: str | None
    """Why it is missing."""


class Verdict(Frozen):
    """A criterion judged by the numbers of one backbone; see `results.judge`."""

    criterion: Criterion
    backbone: str
    outcome: Outcome
    reason: str
    """How it came about, in a sentence."""
    deciding: Deciding | None
    """PASS: the number nearest to the margin. FAIL: the one furthest beyond it. INCONCLUSIVE: the
    one that more images would have to settle, or a missing one. None where nothing matched."""
    n_examined: int
    """Numbers that the criterion matches, missing ones included."""
    n_pass: int
    """Intervals at the criterion's level within the margin."""
    n_fail: int
    """Intervals wholly beyond the margin, adjusted for the number of intervals."""
    n_undecided: int
    n_missing: int
    adjusted_level: float | None
    """Coverage of the interval that a FAIL would take; None where nothing was measured."""
    detectable: float | None
    """Smallest distance of the true value from the margin that the images behind the deciding
    number decide with a probability of 80 %, at the adjusted level."""
    n_to_decide: int | None
    """INCONCLUSIVE: independent images, in place of `deciding.estimate.n`, that would decide if
    the value observed held; None where none would, and `reason` says why."""

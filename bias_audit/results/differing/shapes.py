"""What a comparison of two audits says: frozen, serialisable, complete without either audit."""

from __future__ import annotations

from typing import Literal

from bias_audit.config.schema import Better, Changes, FailOn
from bias_audit.results.verdict import Outcome
from bias_audit.shapes.shape import Frozen
from bias_audit.statistics.estimate import Estimate

DIFF_SCHEMA_VERSION: Literal[1] = 1
ChangeOutcome = Literal["improved", "worse", "higher", "lower", "equivalent", "undecided"]
CauseKind = Literal["weights", "data", "config", "software", "preprocessing", "hardware"]


class RunReference(Frozen):
    """Which audit."""

    name: str
    folder: str
    """As the comparison was requested."""
    started: str
    """ISO 8601, UTC."""
    config_sha256: str
    audit_sha256: str
    """Of its `audit.json`."""


class Change(Frozen):
    """One number of both audits."""

    backbone: str
    """As AFTER calls it."""
    analysis: str
    """Kind of the analysis."""
    quantity: str
    target: str
    layer: str
    group: str | None
    """Levels of the group, joined; None for a point of a curve."""
    of: Literal["estimate", "lift"]
    before: Estimate
    after: Estimate
    difference: Estimate
    """AFTER minus BEFORE, with the noise of refitting in it where the two are paired."""
    equivalence: tuple[float, float]
    """The interval that is compared with the margin: two one-sided tests at 1 - level."""
    noise: float | None
    """Standard deviation of the difference by refitting alone; None where it was not measured, or
    not needed because the audits are compared as independent ones, whose intervals hold it."""
    p_value: float | None
    """Two-sided, of no change; None where the numbers are identical."""
    adjusted_p: float | None
    """By Holm over all numbers compared."""
    margin: float
    better: Better | None
    """Which way is better; None where it was not declared."""
    outcome: ChangeOutcome
    paired: bool
    """Whether it was compared image by image."""
    identical: bool = False
    """Whether the number and everything behind it are the same to the last digit."""


class Cause(Frozen):
    """Something that differs between the audits."""

    kind: CauseKind
    part: str | None = None
    """Of data: "images" or "labels"; of a config: the section."""
    detail: str
    backbone: str | None = None
    """Which backbone it is about; None: all."""
    is_minor: bool = False
    """Whether it moves numbers by rounding or refitting alone, which the noise floor covers."""

    @property
    def name(self) -> str:
        """Such as "weights" or "data (labels)"."""
        return f"{self.kind} ({self.part})" if self.part else self.kind


class Conclusion(Frozen):
    """Where the changes of one backbone probably come from."""

    backbone: str
    causes: tuple[str, ...]
    """Names of the causes that could explain them; several cannot be separated."""
    text: str


class VerdictChange(Frozen):
    """What became of one criterion."""

    criterion: str
    backbone: str
    target: str
    layer: str
    before: Outcome | None
    """None where BEFORE does not have the criterion."""
    after: Outcome | None
    is_same_criterion: bool
    """Whether both audits declare it alike."""
    outcome: Literal["improved", "worse", "same", "changed", "not compared"]


class NotCompared(Frozen):
    """Numbers that have no counterpart."""

    what: str
    count: int
    reason: str


class Noise(Frozen):
    """The noise floor of one curve in both audits."""

    backbone: str
    quantity: str
    target: str
    before: float | None
    """Standard deviation over refits; None where it was not measured."""
    after: float | None


class Gate(Frozen):
    """What was to stop a pipeline, and whether it does."""

    fail_on: tuple[FailOn, ...]
    reasons: tuple[str, ...]
    """Why it stops; empty where it does not."""
    outcome: Literal["open", "failed", "undecided", "missing"]
    """undecided: nothing fails, but changes are undecided and were to be reported; missing: AFTER
    lacks what BEFORE has."""


class AuditDiff(Frozen):
    """Two audits side by side; `diff.json` is this, and the page is made from it alone."""

    schema_version: Literal[1] = DIFF_SCHEMA_VERSION
    before: RunReference
    after: RunReference
    causes: tuple[Cause, ...]
    conclusions: tuple[Conclusion, ...]
    """One per backbone."""
    shared_images: int | None
    """None where it is not known."""
    only_before: int | None
    only_after: int | None
    relabelled: int | None
    """Of the shared images."""
    changes: tuple[Change, ...]
    verdict_changes: tuple[VerdictChange, ...]
    not_compared: tuple[NotCompared, ...]
    noise: tuple[Noise, ...]
    notes: tuple[str, ...]
    policy: Changes
    gate: Gate

    def counts(self) -> dict[ChangeOutcome, int]:
        """How many changes of each outcome, those that matter first."""
        order: tuple[ChangeOutcome, ...] = ("worse", "improved", "higher", "lower")
        order += ("undecided", "equivalent")
        return {each: sum(change.outcome == each for change in self.changes) for each in order}

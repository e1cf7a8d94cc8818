"""What is read from a history: audits, what they found, and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bias_audit.statistics.estimate import Estimate

Curve = tuple[int, str, str]
"""Backbone id, quantity, target."""


@dataclass(frozen=True)
class Audit:
    """One audit of one entry on one dataset."""

    id: int
    zoo: str
    dataset: str
    entry: str
    folder: str
    """Relative to the database's folder."""
    is_pruned: bool
    started: str
    seconds: float
    outcome: str
    audit_sha256: str
    config_sha256: str
    manifest_sha256: str
    code_version: str
    packages: str
    n_images: int
    is_latest: bool
    """Of its entry on its dataset."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Zoo, dataset and entry."""
        return self.zoo, self.dataset, self.entry


@dataclass(frozen=True)
class Backbone:
    """One backbone of one audit."""

    id: int
    audit: Audit
    position: int
    name: str
    weights: str
    weights_sha256: str
    n_parameters: int
    n_layers: int
    """Audited."""
    is_alone: bool
    """Whether its audit has no other."""

    @property
    def label(self) -> str:
        """The entry's name, with the backbone's where an audit has several."""
        return self.audit.entry if self.is_alone else f"{self.audit.entry}: {self.name}"


@dataclass(frozen=True)
class Point:
    """A number of a layer curve."""

    backbone_id: int
    quantity: str
    metric: str
    target: str
    layer: str
    depth: int
    estimate: Estimate
    chance: float | None
    strongest: str | None
    control: float | None
    lift: Estimate | None
    n_layers: int
    """Of the curve."""


@dataclass(frozen=True)
class VerdictRow:
    """A criterion held against a backbone's numbers."""

    backbone_id: int
    position: int
    criterion: str
    quantity: str
    of_what: str
    target: str
    layers: str
    lowest: float | None
    highest: float | None
    outcome: str
    reason: str
    layer: str | None
    group: str | None
    estimate: Estimate | None
    before: str | None = None
    """The outcome in the audit before, where it differs."""


@dataclass(frozen=True)
class Change:
    """A number beside that of an earlier audit."""

    backbone: str
    quantity: str
    target: str
    layer: str
    group: str | None
    of_what: str
    outcome: str
    before: Estimate
    after: Estimate
    difference: Estimate
    margin: float
    is_paired: bool


@dataclass(frozen=True)
class Cause:
    """Something that differs between two audits."""

    kind: str
    part: str | None
    detail: str
    backbone: str | None
    """None: all."""
    is_minor: bool
    """Whether it moves numbers by rounding or refitting alone."""

    @property
    def name(self) -> str:
        """Such as "weights" or "data (labels)"."""
        return f"{self.kind} ({self.part})" if self.part else self.kind


@dataclass(frozen=True)
class Diff:
    """How an audit differs from an earlier one."""

    id: int
    before_id: int
    after_id: int
    causes: tuple[Cause, ...] = ()
    conclusions: Mapping[str, str] = field(default_factory=dict)
    """Where changes probably come from, by backbone."""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Cost:
    """A stage of an audit."""

    audit_id: int
    backbone_id: int | None
    stage: str
    seconds: float
    images: int | None
    bytes: int | None
    is_reused: bool


@dataclass(frozen=True)
class StateRow:
    """What the latest run did about an entry on a dataset."""

    dataset: str
    entry: str
    state: str
    reason: str
    audit_id: int | None


@dataclass(frozen=True)
class Run:
    """A run of a zoo."""

    id: int
    zoo: str
    started: str
    seconds: float
    command: str
    states: tuple[StateRow, ...]


@dataclass(frozen=True)
class FailedAnalysis:
    """An analysis of a latest audit that could not be computed."""

    backbone_id: int
    title: str
    error: str


@dataclass(frozen=True)
class History:
    """What a report of a zoo is made from."""

    database: Path
    audits: tuple[Audit, ...]
    """Oldest first."""
    backbones: tuple[Backbone, ...]
    """Of all audits, in their order."""
    highest: Mapping[Curve, Point] = field(repr=False)
    """Of every layer curve of every audit."""
    last: Mapping[Curve, Point] = field(repr=False)
    profiles: Mapping[Curve, tuple[Point, ...]] = field(repr=False)
    """Whole layer curves of the latest audits."""
    verdicts: tuple[VerdictRow, ...]
    """Of the latest audits."""
    failures: tuple[FailedAnalysis, ...]
    diffs: tuple[Diff, ...]
    """That lead to the latest audits."""
    costs: tuple[Cost, ...]
    """Of all audits."""
    fingerprints: Mapping[int, Mapping[str, str]] = field(repr=False)
    """Of the latest audits, by id and kind."""
    run: Run | None
    """The latest one."""

    @property
    def latest(self) -> tuple[Backbone, ...]:
        """Of the latest audit of each entry on each dataset, by dataset and entry."""
        return tuple(
            sorted(
                (each for each in self.backbones if each.audit.is_latest),
                key=lambda each: (each.audit.key, each.position),
            )
        )

    @property
    def datasets(self) -> tuple[str, ...]:
        """With an audit, in the order of their first."""
        return tuple(dict.fromkeys(audit.dataset for audit in self.audits))

"""The numbers of an audit that can be held against those of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Final

from bias_audit.results.audit import AnalysisResult, AuditResult, SubjectResult
from bias_audit.results.blocks import Curve, GroupTable, LayerCurve, RefitNoise
from bias_audit.results.contributions import Contributions, MeasureKey
from bias_audit.statistics.estimate import Estimate, standard_error
from bias_audit.statistics.inference import Measured

GUESSING: Final = "guessing"
_MEASURED_AS: Final = {
    "recall": "balanced_accuracy",
    "within_auc": "macro_auc",
    "cell_auc": "macro_auc",
}
"""Quantities of groups, by the quantity of a curve that comes from the same probes."""
FOLLOWS: Final = frozenset({"interaction"})
"""Quantities that follow from others which are compared."""
Key = tuple[str, int, MeasureKey]
"""Kind of the analysis, its number among those of its kind, and the number's key in it."""


@dataclass(frozen=True)
class Audited:
    """A finished audit, with what the cache still holds of it."""

    result: AuditResult
    folder: str
    audit_sha256: str
    contributions: Mapping[str, Contributions] = field(default_factory=dict)
    """By the name that analyses give."""

    @property
    def any_contributions(self) -> Contributions | None:
        """Of any analysis: all of them are about the same images."""
        return next(iter(self.contributions.values()), None)


@dataclass(frozen=True)
class Comparable:
    """One number."""

    estimate: Estimate
    noise: float | None
    """Standard deviation by refitting; None where it was not measured."""
    measured: Measured | None
    """With the contributions of single images; None where the cache does not have them."""
    units: Contributions | None
    """Whose units these are."""


def comparables(audited: Audited, subject: SubjectResult) -> dict[Key, Comparable]:
    """Every number of a backbone that has an interval, by its key; the first of equal keys."""
    noise = {
        (block.quantity, curve.target): curve.noise
        for block in _curve_blocks(subject)
        for curve in block.curves
        if curve.noise is not None
    }
    found: dict[Key, Comparable] = {}
    seen: dict[str, int] = {}
    for analysis in subject.analyses:
        number = seen.get(analysis.kind, 0)
        seen[analysis.kind] = number + 1
        entry = audited.contributions.get(analysis.contributions or "")
        for key, estimate, sd in _numbers(analysis, noise):
            place = (analysis.kind, number, key)
            measured = None if entry is None else entry.measures.get(key)
            found.setdefault(place, Comparable(estimate, sd, measured, entry))
    return found


def curves(subject: SubjectResult) -> dict[tuple[str, str], Curve]:
    """Every curve, by quantity and target."""
    return {(b.quantity, c.target): c for b in _curve_blocks(subject) for c in b.curves}


def _curve_blocks(subject: SubjectResult) -> Iterator[LayerCurve]:
    for analysis in subject.analyses:
        yield from (block for block in analysis.blocks if isinstance(block, LayerCurve))


def _numbers(
    analysis: AnalysisResult, noise: Mapping[tuple[str, str], RefitNoise]
) -> Iterator[tuple[MeasureKey, Estimate, float | None]]:
    for block in analysis.blocks:
        if isinstance(block, LayerCurve):
            yield from _of_curves(block)
        elif isinstance(block, GroupTable) and block.quantity not in FOLLOWS:
            yield from _of_table(block, noise)


def _of_curves(block: LayerCurve) -> Iterator[tuple[MeasureKey, Estimate, float | None]]:
    for curve in block.curves:
        sd = curve.noise.sd if curve.noise else None
        for point in curve.points:
            key = MeasureKey(block.quantity, curve.target, point.layer)
            if point.estimate is not None:
                yield key, point.estimate, sd
            if point.lift is not None:
                lift = MeasureKey(block.quantity, curve.target, point.layer, of="lift")
                # Controls are fitted as the probe is, so they are taken to vary as much.
                both = 1.0 if point.strongest == GUESSING else sqrt(2)
                yield lift, point.lift, None if sd is None else both * sd


def _of_table(
    table: GroupTable, noise: Mapping[tuple[str, str], RefitNoise]
) -> Iterator[tuple[MeasureKey, Estimate, float | None]]:
    """A group's noise is the same share of its standard error as that of the probe overall."""
    quantity = _MEASURED_AS.get(table.quantity, table.quantity)
    known = noise.get((quantity, table.target)) or noise.get((quantity, "intersection"))
    for row in table.rows:
        if row.estimate is not None:
            key = MeasureKey(table.quantity, table.target, table.layer, row.group.levels)
            share = None if known is None else known.relative * standard_error(row.estimate)
            yield key, row.estimate, share

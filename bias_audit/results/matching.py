"""Which numbers of a subject a criterion is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bias_audit.config.schema import Criterion
from bias_audit.groups import Group
from bias_audit.results.audit import AnalysisResult, SubjectResult
from bias_audit.results.blocks import Curve, CurvePoint, GroupTable, LayerCurve
from bias_audit.statistics.estimate import Estimate, allowing_for_choice

B = TypeVar("B")


@dataclass(frozen=True)
class Number:
    """A number that a criterion is about."""

    layer: str
    group: Group | None
    estimate: Estimate | None
    """None where it is missing, and `reason` says why."""
    reason: str | None = None


def best_point(curve: Curve) -> CurvePoint | None:
    """The layer with the highest estimate, the first of equals; None where nothing is measured.

    Its intervals allow for the choice: they hold for all layers at once.
    """
    measured = [point for point in curve.points if point.estimate is not None]
    best = max(measured, key=lambda p: p.estimate.value if p.estimate else 0.0, default=None)
    if best is None or len(measured) == 1:
        return best
    shares = {"estimate": curve.choice, "lift": curve.lift_choice}
    chosen = {
        name: allowing_for_choice(found, 1 / len(measured) if share is None else share)
        for name, share in shares.items()
        if (found := getattr(best, name)) is not None
    }
    return best.model_copy(update=chosen)


def numbers(criterion: Criterion, subject: SubjectResult) -> tuple[Number, ...]:
    """Every number of a backbone that a criterion matches, missing ones too, in their order."""
    return numbers_among(criterion, subject.analyses, last=subject.backbone.layers[-1].name)


def numbers_among(
    criterion: Criterion, analyses: Sequence[AnalysisResult], *, last: str | None
) -> tuple[Number, ...]:
    """Every number of some analyses that a criterion matches.

    Args:
        criterion: The criterion.
        analyses: Of one backbone, or of all together.
        last: Name of the backbone's last layer; None where there is no such.
    """
    curves = [
        curve
        for block in _blocks(analyses, LayerCurve)
        if block.quantity == criterion.quantity and criterion.groups is None
        for curve in block.curves
        if curve.target == criterion.target
    ]
    tables = [
        table
        for table in _blocks(analyses, GroupTable)
        if (table.quantity, table.target) == (criterion.quantity, criterion.target)
    ]
    return (
        *(number for curve in curves for number in _of_curve(criterion, curve)),
        *_of_tables(criterion, tables, last),
    )


def _blocks(analyses: Sequence[AnalysisResult], kind: type[B]) -> Iterator[B]:
    for analysis in analyses:
        yield from (block for block in analysis.blocks if isinstance(block, kind))


def _of_curve(criterion: Criterion, curve: Curve) -> Iterator[Number]:
    points = _points(criterion.layer, curve)
    if not points and criterion.layer in {"every", "best", "last"}:
        reason = curve.not_measured or "no layer was measured"
        yield Number(criterion.layer, None, None, reason)
    for point in points:
        estimate = point.estimate if criterion.of == "estimate" else point.lift
        missing = curve.not_measured or "not measured"
        if estimate is None and point.estimate is not None:
            missing = "no lift was measured"
        yield Number(point.layer, None, estimate, None if estimate else missing)


def _points(layer: str, curve: Curve) -> Sequence[CurvePoint]:
    """The points that a criterion names."""
    if layer == "every":
        return curve.points
    if layer == "last":
        return curve.points[-1:]
    if layer == "best":
        best = best_point(curve)
        return (best,) if best else ()
    return [point for point in curve.points if point.layer == layer]


def _of_tables(
    criterion: Criterion, tables: Sequence[GroupTable], last: str | None
) -> Iterator[Number]:
    """A table stands at a layer that its analysis chose: with one layer, that is the best."""
    at = {table.layer for table in tables}
    if criterion.layer == "best" and len(at) > 1:
        several = f"it was measured at several layers ({', '.join(sorted(at))}); name one"
        yield Number("best", None, None, several)
        return
    ends = {last} if last is not None else at
    asked = {"every": at, "best": at, "last": ends}.get(criterion.layer, {criterion.layer})
    for table in tables:
        for row in table.rows if table.layer in asked else ():
            if not _has_levels(row.group, criterion.groups or {}):
                continue
            estimate, reason = row.estimate, row.reason or "not measured"
            if criterion.of == "lift":
                estimate, reason = None, "groups have no lift; use of: estimate"
            yield Number(table.layer, row.group, estimate, None if estimate else reason)


def _has_levels(group: Group, levels: Mapping[str, str]) -> bool:
    return levels.items() <= dict(group.levels).items()

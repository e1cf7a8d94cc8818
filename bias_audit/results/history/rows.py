"""An audit's result as rows of the history's tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from bias_audit.groups import Group
from bias_audit.results.audit import AuditResult, StageCost, SubjectResult
from bias_audit.results.verdict import Outcome, Verdict
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.layer_curve import Curve, CurvePoint, LayerCurve
from bias_audit.statistics.estimate import Estimate

Row = dict[str, Any]
"""Values by column."""
_GRAVEST: Final[tuple[Outcome, ...]] = ("FAIL", "INCONCLUSIVE", "PASS")


def audit_row(result: AuditResult) -> Row:
    """What the result itself says; the caller adds its place and the zoo's names."""
    record = result.provenance
    return {
        "name": result.name,
        "started": record.started,
        "seconds": record.seconds,
        "outcome": outcome_of(result),
        "config_sha256": record.config_sha256,
        "manifest_sha256": result.data.manifest_sha256,
        "n_images": result.data.n_images,
        "n_clusters": result.data.n_clusters,
        "seed": record.seed,
        "code_version": record.versions.get("bias-audit", "unknown"),
        "packages": _json(record.versions),
        "hardware": _json(record.hardware),
    }


def outcome_of(result: AuditResult) -> str:
    """The word failed where an analysis could not be computed; else the gravest verdict."""
    if result.failed:
        return "failed"
    found = {verdict.outcome for verdict in result.verdicts}
    return next((outcome for outcome in _GRAVEST if outcome in found), "none")


def backbone_row(subject: SubjectResult, position: int) -> Row:
    """One backbone."""
    record = subject.backbone
    return {
        "position": position,
        "name": record.name,
        "architecture": record.architecture,
        "weights": record.weights,
        "weights_sha256": record.weights_sha256,
        "preprocessing": _json(record.preprocessing),
        "n_parameters": record.n_parameters,
        "n_layers": len(record.layers),
    }


def analysis_rows(subject: SubjectResult) -> Iterator[Row]:
    """Every analysis of a backbone."""
    for position, analysis in enumerate(subject.analyses):
        yield {
            "position": position,
            "kind": analysis.kind,
            "title": analysis.title,
            "status": analysis.status,
            "error": analysis.error,
            "seconds": analysis.seconds,
        }


def estimate_rows(subject: SubjectResult) -> Iterator[Row]:
    """Every number of a backbone's layer curves and group tables, missing ones included."""
    depths = {layer.name: depth for depth, layer in enumerate(subject.backbone.layers)}
    rows = (
        row
        for analysis in subject.analyses
        for block in analysis.blocks
        for row in _of_block(block)
    )
    for position, row in enumerate(rows):
        yield {"position": position, "depth": depths.get(row["layer"], -1)} | row


def _of_block(block: object) -> Iterator[Row]:
    if isinstance(block, LayerCurve):
        for curve in block.curves:
            for point in curve.points:
                yield _of_point(block, curve, point)
    elif isinstance(block, GroupTable):
        for row in block.rows:
            yield _of_group(block, row)


def _of_point(block: LayerCurve, curve: Curve, point: CurvePoint) -> Row:
    control = next((c for c in point.controls if c.name == point.strongest), None)
    return {
        "quantity": block.quantity,
        "metric": block.metric,
        "target": curve.target,
        "layer": point.layer,
        **_levels(None),
        **_estimate(point.estimate),
        "chance": block.chance.get(curve.target),
        "strongest": point.strongest,
        "control": control.estimate.value if control else None,
        "lift": point.lift.value if point.lift else None,
        "lift_lower": point.lift.lower if point.lift else None,
        "lift_upper": point.lift.upper if point.lift else None,
        "p_value": point.p_value,
        "adjusted_p": point.adjusted_p,
        "reason": None if point.estimate else curve.not_measured or "not measured",
    }


def _of_group(block: GroupTable, row: GroupRow) -> Row:
    return {
        "quantity": block.quantity,
        "metric": block.metric,
        "target": block.target,
        "layer": block.layer,
        **_levels(row.group),
        **_estimate(row.estimate),
        "chance": block.chance if row.by_chance is None else row.by_chance,
        **dict.fromkeys(("strongest", "control", "lift", "lift_lower", "lift_upper")),
        "p_value": row.p_value,
        "adjusted_p": row.adjusted_p,
        "reason": None if row.estimate else row.reason or "not measured",
    }


def verdict_rows(result: AuditResult) -> Iterator[tuple[str, Row]]:
    """Every verdict, with the name of its backbone."""
    for position, verdict in enumerate(result.verdicts, start=1):
        yield verdict.backbone, {"position": position} | _verdict(verdict)


def _verdict(verdict: Verdict) -> Row:
    criterion, deciding = verdict.criterion, verdict.deciding
    lowest, highest = criterion.margin
    estimate = _estimate(deciding.estimate if deciding else None)
    return {
        "criterion": criterion.name,
        "quantity": criterion.quantity,
        "of_what": criterion.of,
        "target": criterion.target,
        "layers": criterion.layer,
        "lowest": lowest,
        "highest": highest,
        "rationale": criterion.rationale,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "layer": deciding.layer if deciding else None,
        "group_name": deciding.group.label if deciding and deciding.group else None,
        **{name: estimate[name] for name in ("value", "lower", "upper", "level", "n")},
    }


@dataclass(frozen=True)
class Cost:
    """A stage, and the place of its backbone in the audit; None where all share it."""

    subject: int | None
    stage: StageCost


def costs(result: AuditResult) -> Iterator[Cost]:
    """Every stage; of results that record none, the forward pass and the analyses' own times."""
    yield from (Cost(None, stage) for stage in result.provenance.costs)
    for place, subject in enumerate(result.subjects):
        for stage in subject.costs or _costs_told(subject):
            yield Cost(place, stage)


def _costs_told(subject: SubjectResult) -> tuple[StageCost, ...]:
    told = subject.extraction
    forward = told.get("forward_images", told.get("images"))
    seconds = told.get("seconds")
    passed = (
        (StageCost(stage="forward pass", seconds=seconds, images=forward, reused=forward == 0),)
        if seconds is not None
        else ()
    )
    return (*passed, *(StageCost(stage=a.kind, seconds=a.seconds) for a in subject.analyses))


def cost_row(cost: StageCost) -> Row:
    """One stage."""
    return {
        "stage": cost.stage,
        "seconds": cost.seconds,
        "images": cost.images,
        "bytes": cost.bytes,
        "is_reused": int(cost.reused),
    }


def _levels(group: Group | None) -> Row:
    if group is None:
        return {"group_name": None, "group_attributes": None}
    names = " / ".join(name for name, _ in group.levels)
    return {"group_name": group.label, "group_attributes": names}


def _estimate(estimate: Estimate | None) -> Row:
    columns = ("value", "lower", "upper", "level", "n", "scale", "effective")
    return {name: getattr(estimate, name) if estimate else None for name in columns}


def _json(values: object) -> str:
    return json.dumps(values, sort_keys=True, ensure_ascii=False)

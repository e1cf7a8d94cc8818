"""Made-up subjects whose numbers are normal with a known standard error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy.stats import norm

from bias_audit.config.schema import Criterion
from bias_audit.groups import Group
from bias_audit.results.audit import AnalysisResult, BackboneRecord, LayerRecord, SubjectResult
from bias_audit.results.judge import judge
from bias_audit.results.verdict import Verdict
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.layer_curve import ControlPoint, Curve, CurvePoint, LayerCurve
from bias_audit.shapes.shape import Block
from bias_audit.statistics.estimate import Estimate

Z = float(norm.ppf(0.975))


def normal(value: float, se: float = 0.01, n: int = 100) -> Estimate:
    return Estimate(float(value), value - Z * se, value + Z * se, 0.95, n, "normal")


def criterion(**changes: Any) -> Criterion:
    settings: dict[str, Any] = {
        "name": "c",
        "quantity": "macro_auc",
        "target": "gender",
        "rationale": "a test",
    }
    if not {"at_most", "at_least", "within"} & changes.keys():
        settings["at_most"] = 0.6
    return Criterion.model_validate(settings | changes)


def curve(
    estimates: Sequence[Estimate | None],
    lifts: Sequence[Estimate | None] = (),
    *,
    choice: float | None = None,
) -> LayerCurve:
    lifts = lifts or [None] * len(estimates)
    points = []
    for index, (estimate, lift) in enumerate(zip(estimates, lifts, strict=True)):
        controls = (ControlPoint(name="pixels", estimate=normal(0.5), lift=lift),) if lift else ()
        points.append(
            CurvePoint(
                layer=f"l{index}",
                estimate=estimate,
                controls=controls,
                lift=lift,
                strongest="pixels" if lift else None,
            )
        )
    return LayerCurve(
        title="t",
        quantity="macro_auc",
        metric="macro AUC",
        chance={"gender": 0.5},
        curves=(Curve(target="gender", points=tuple(points), choice=choice),),
    )


def table(estimates: Sequence[Estimate | None], layer: str = "l0") -> Block:
    """Recall of gender in groups of age a0, a1, ... and, in turn, race x and y."""
    rows = tuple(
        GroupRow(
            group=Group((("age", f"a{index}"), ("race", "xy"[index % 2]))),
            n=10,
            estimate=estimate,
            reason=None if estimate else "suppressed",
        )
        for index, estimate in enumerate(estimates)
    )
    return GroupTable(
        title="t",
        quantity="recall",
        metric="recall",
        layer=layer,
        target="gender",
        chance=None,
        rows=rows,
    )


def subject(*blocks: Block, name: str = "net", failed: bool = False) -> SubjectResult:
    analysis = AnalysisResult(
        kind="k",
        title="Question",
        params={},
        status="failed" if failed else "done",
        error="it broke" if failed else None,
        blocks=blocks,
        seconds=1.0,
    )
    return SubjectResult(
        backbone=BackboneRecord(
            name=name,
            kind="bundled",
            architecture="a",
            weights="w",
            weights_sha256="0",
            licence="l",
            preprocessing={},
            layers=tuple(LayerRecord(name=f"l{i}", n_units=1) for i in range(3)),
            overrides={},
            key_problems=(),
            n_parameters=1,
        ),
        analyses=(analysis,),
        extraction={},
    )


def verdict(asked: Criterion, *blocks: Block) -> Verdict:
    (found,) = judge([asked], [subject(*blocks)])
    return found

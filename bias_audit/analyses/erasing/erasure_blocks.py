"""What erasing targets changed, as blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bias_audit.analyses.erasing.erasure_measures import Measures
from bias_audit.arrays import IntArray
from bias_audit.results.blocks import (
    ControlPoint,
    Curve,
    CurvePoint,
    GroupRow,
    GroupTable,
    LayerCurve,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import share_estimate

_METRICS = {
    "head_auc": ("macro AUC", "Before and after erasure: macro AUC"),
    "erased_auc": ("macro AUC", "After erasure: macro AUC"),
    "head_balanced_accuracy": (
        "balanced accuracy",
        "Before and after erasure: balanced accuracy",
    ),
    "erased_balanced_accuracy": ("balanced accuracy", "After erasure: balanced accuracy"),
    "refitted_head_auc": (
        "macro AUC",
        "Before and after erasure: macro AUC of a probe fitted to images new to the eraser",
    ),
    "refitted_erased_auc": (
        "macro AUC",
        "After erasure: macro AUC of a probe fitted to images new to the eraser",
    ),
    "top1_agreement": ("top-1 agreement", "Images whose most probable class erasure leaves"),
    "top5_agreement": ("top-5 overlap", "Share of the five most probable classes that stay"),
    "reference_top1_agreement": (
        "top-1 agreement",
        "Reference images whose most probable class erasure leaves",
    ),
    "reference_top5_agreement": (
        "top-5 overlap",
        "Share of the five most probable classes of reference images that stay",
    ),
}
"""By quantity: a name for an axis, and a title."""
_BY_GROUP = {
    "group_top1_agreement": _METRICS["top1_agreement"],
    "group_top5_agreement": _METRICS["top5_agreement"],
}
QUANTITIES = (*_METRICS, *_BY_GROUP)
_MAIN = ("head_auc", "top1_agreement")
"""Of these, what was encoded and whether the classification layer uses it."""
_ERASED, _SHUFFLED = "after erasure", "shuffled labels"
_HALF = 0.5


def blocks_of(
    measures: Sequence[Measures], layer: str, clusters: IntArray
) -> tuple[LayerCurve | GroupTable, ...]:
    """One curve block a quantity, at the one layer; then agreement by group of each target."""
    curves = [_curve(quantity, measures, layer) for quantity in _METRICS]
    measured = [block for block in curves if any(c.points for c in block.curves)]
    tables = [
        _by_group(measure, quantity, layer, clusters)
        for measure in measures
        for quantity in _BY_GROUP
    ]
    return (*measured, *tables)


def _curve(quantity: str, measures: Sequence[Measures], layer: str) -> LayerCurve:
    (metric, title), curves, chance = _METRICS[quantity], [], {}
    for measure in measures:
        name = measure.erased.target.name
        point = _point(quantity, measure, layer)
        if quantity.endswith("_auc"):
            chance[name] = _HALF
        elif quantity.endswith("_accuracy"):
            chance[name] = 1 / len(measure.erased.part.levels)
        few = "too few images of a level in a held-out fold"
        points = () if point is None else (point,)
        curves.append(Curve(target=name, points=points, not_measured=None if points else few))
    return LayerCurve(
        detail=quantity not in _MAIN,
        title=title,
        quantity=quantity,
        metric=metric,
        chance=chance,
        curves=tuple(curves),
    )


def _point(quantity: str, measure: Measures, layer: str) -> CurvePoint | None:
    """Beside agreement stands that under shuffled labels, beside "before" stands "after"."""
    agreed = {
        "top1_agreement": measure.top1,
        "top5_agreement": measure.top5,
        "reference_top1_agreement": measure.reference,
        "reference_top5_agreement": measure.reference_top5,
    }
    if quantity in agreed:
        found = agreed[quantity]
        if found is None:
            return None
        return _controlled(
            layer, found.annotated, _SHUFFLED, found.shuffled, _negative(found.excess)
        )
    estimate = measure.values.get(quantity)
    if estimate is None:
        return None
    if "head_" not in quantity:
        return CurvePoint(layer=layer, estimate=estimate)
    after = quantity.replace("head_", "erased_")
    return _controlled(
        layer, estimate, _ERASED, measure.values[after], measure.values[f"{after}_drop"]
    )


def _controlled(
    layer: str, estimate: Estimate, name: str, control: Estimate, lift: Estimate
) -> CurvePoint:
    point = ControlPoint(name=name, estimate=control, lift=lift)
    return CurvePoint(layer=layer, estimate=estimate, controls=(point,), lift=lift, strongest=name)


def _negative(estimate: Estimate) -> Estimate:
    return replace(estimate, value=-estimate.value, lower=-estimate.upper, upper=-estimate.lower)


def _by_group(measure: Measures, quantity: str, layer: str, clusters: IntArray) -> GroupTable:
    erased = measure.erased
    target, part = erased.target, erased.part
    top1 = quantity == "group_top1_agreement"
    values = (erased.kept if top1 else erased.overlap)[0].astype(np.float64)
    place = {int(index): kept for kept, index in enumerate(part.levels)}
    rows = []
    for index, group in enumerate(target.groups):
        if index not in place:
            n = int((target.codes == index).sum())
            rows.append(GroupRow(group=group, n=n, estimate=None, reason=part.reasons[index]))
            continue
        members = part.codes == place[index]
        level = measure.top1.annotated.level
        estimate = share_estimate(values[members], clusters[part.images][members], level=level)
        rows.append(GroupRow(group=group, n=int(members.sum()), estimate=estimate))
    return GroupTable(
        detail=True,
        title=f"{_BY_GROUP[quantity][1]}: {target.described}, by group",
        quantity=quantity,
        metric=_BY_GROUP[quantity][0],
        layer=layer,
        target=target.name,
        chance=None,
        rows=tuple(rows),
    )

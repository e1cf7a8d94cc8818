"""A layer curve in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    count,
    decimal,
    interval,
    interval_note,
    sentence,
    signed_interval,
)
from bias_audit.results.blocks import Curve, CurvePoint, LayerCurve


def best_point(curve: Curve) -> CurvePoint | None:
    """The layer with the highest estimate, the first of equals; None where nothing is measured."""
    measured = [point for point in curve.points if point.estimate is not None]
    return max(measured, key=lambda p: p.estimate.value if p.estimate else 0.0, default=None)


def layer_curve(block: LayerCurve) -> BlockText:
    """Say where each target is highest, and list every layer."""
    measured = [curve for curve in block.curves if best_point(curve) is not None]
    estimates = [p.estimate for curve in measured for p in curve.points if p.estimate is not None]
    missing = tuple(
        f"{curve.target}: not measured ({curve.not_measured or 'no layer has an estimate'})."
        for curve in block.curves
        if curve not in measured
    )
    caption = (
        f"{block.metric} at every layer. Coloured: labels as annotated, band: its interval. "
        "Grey: control, the same procedure on shuffled labels. Dotted: chance."
    )
    return BlockText(
        alt=_alt(block, measured) if measured else None,
        caption=sentence(caption),
        notes=(*missing, *interval_note(estimates)),
        tables=(_table(block, measured),) if measured else (),
    )


def _alt(block: LayerCurve, measured: list[Curve]) -> str:
    n_layers = max(len(curve.points) for curve in measured)
    parts = [f"Line chart of {block.metric} over {n_layers} layers."]
    for curve in measured:
        best, last = best_point(curve), curve.points[-1]
        if best is None:
            continue
        chance = block.chance.get(curve.target)
        parts.append(
            f"{curve.target}: highest {interval(best.estimate)} at {best.layer}, control there "
            f"{interval(best.control)}"
            + ("" if chance is None else f", chance {decimal(chance, 3)}")
            + f"; at the last layer, {last.layer}, {interval(last.estimate)}."
        )
    return " ".join(parts)


def _table(block: LayerCurve, curves: list[Curve]) -> Table:
    rows = tuple(_row(curve, point) for curve in curves for point in curve.points)
    best = [(curve, best_point(curve)) for curve in curves]
    return Table(
        caption=sentence(f"{block.metric} by target and layer"),
        columns=(
            Column("target"),
            Column("layer"),
            Column(block.metric, numeric=True),
            Column("control", numeric=True),
            Column("above control or chance (the higher)", numeric=True),
            Column("n", numeric=True),
        ),
        rows=rows,
        n_headers=2,
        excerpt=tuple(_row(curve, point) for curve, point in best if point is not None),
        excerpt_note=(
            f"The layer with the highest value of each target; all {count(len(rows))} rows are in "
            "report.html and audit.json."
        ),
    )


def _row(curve: Curve, point: CurvePoint) -> tuple[str, ...]:
    n = count(point.estimate.n) if point.estimate else "0"
    values = (interval(point.estimate), interval(point.control), signed_interval(point.lift))
    return (curve.target, point.layer, *values, n)

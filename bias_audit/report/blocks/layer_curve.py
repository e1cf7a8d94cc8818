"""A layer curve in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import (
    chance_of,
    counted,
    decimal,
    guess,
    interval,
    interval_note,
    sample,
    sample_heading,
    sentence,
    signed_interval,
)
from bias_audit.results.blocks import ControlPoint, Curve, CurvePoint, LayerCurve
from bias_audit.results.matching import best_point

GUESSING = "guessing"
"""What `CurvePoint.strongest` says where no control does better."""


def strongest_control(point: CurvePoint) -> ControlPoint | None:
    """The control that the lift is over; None where that is guessing, or there is none."""
    return next((c for c in point.controls if c.name == point.strongest), None)


def control_names(block: LayerCurve) -> tuple[str, ...]:
    """Names of all controls, in the order in which they first come."""
    points = (point for curve in block.curves for point in curve.points)
    return tuple(dict.fromkeys(c.name for point in points for c in point.controls))


def layer_curve(block: LayerCurve) -> BlockText:
    """Say where each target is highest, and list every layer and every control."""
    measured = [curve for curve in block.curves if best_point(curve) is not None]
    estimates = [p.estimate for curve in measured for p in curve.points if p.estimate is not None]
    missing = tuple(
        f"{curve.target}: not measured ({curve.not_measured or 'no layer has an estimate'})."
        for curve in block.curves
        if curve not in measured
    )
    names = control_names(block)
    controls = (
        f" Grey: the same procedure on controls ({', '.join(names)}), named beside their last "
        "point; their intervals are in the tables."
        if names
        else " No control was measured."
    )
    caption = (
        f"{block.metric} at every layer. Filled marks: labels as annotated; band (a bar where no "
        f"layer is beside it): its interval.{controls} Dotted: chance."
    )
    tables = (_table(block, measured), *_control_tables(block, measured)) if measured else ()
    return BlockText(
        alt=_alt(block, measured) if measured else None,
        caption=sentence(caption),
        notes=(*missing, *interval_note(estimates), *_noise_note(measured)),
        tables=tables,
    )


def _noise_note(measured: list[Curve]) -> tuple[str, ...]:
    """How much values move by refitting alone; nothing where that was not measured."""
    known = [(curve.target, curve.noise) for curve in measured if curve.noise is not None]
    if not known:
        return ()
    told = ", ".join(f"{target} {decimal(noise.sd, 4)}" for target, noise in known)
    times = counted(known[0][1].refits, "refit")
    return (
        f"Standard deviation of a value when the same probes are fitted to other folds "
        f"({times} of every layer, pooled over layers): {told}. A difference to another audit of "
        "the same images that is not larger says nothing.",
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
            f"{curve.target}: highest {interval(best.estimate)} at {best.layer}"
            + "".join(f", {c.name} there {interval(c.estimate)}" for c in best.controls)
            + ("" if chance is None else f", chance {guess(chance)}")
            + f"; at the last layer, {last.layer}, {interval(last.estimate)}."
        )
    return " ".join(parts)


def _table(block: LayerCurve, curves: list[Curve]) -> Table:
    rows = tuple(_row(block, curve, point) for curve in curves for point in curve.points)
    best = [(curve, best_point(curve)) for curve in curves]
    samples = [(p.estimate.n, p.estimate) for c in curves for p in c.points if p.estimate]
    compared = is_compared(block)
    against = ", against the strongest baseline" if compared else ""
    return Table(
        caption=sentence(f"{block.metric} by target and layer{against}"),
        columns=(
            Column("target"),
            Column("layer"),
            Column(_heading(block.metric), numeric=True),
            *(
                (Column("strongest baseline", numeric=True), Column("lift over it", numeric=True))
                if compared
                else ()
            ),
            *((Column("adjusted p", numeric=True),) if is_tested(block) else ()),
            Column(sample_heading("n", samples), numeric=True),
        ),
        rows=rows,
        n_headers=2,
        excerpt=tuple(_row(block, curve, point) for curve, point in best if point is not None),
        excerpt_note="The layer with the highest value of each target.",
    )


def _heading(metric: str) -> str:
    """With what is in parentheses on a line of its own: a wide heading squeezes other columns."""
    return metric.replace(" (", "\n(", 1)


def _row(block: LayerCurve, curve: Curve, point: CurvePoint) -> tuple[str, ...]:
    there = point.estimate is not None
    compared = (
        (strongest_told(point, block.chance.get(curve.target)), signed_interval(point.lift))
        if there
        else ("", "")
    )
    return (
        curve.target,
        point.layer,
        interval(point.estimate),
        *(compared if is_compared(block) else ()),
        *((chance_of(point.adjusted_p) if there else "",) if is_tested(block) else ()),
        sample(point.estimate.n, point.estimate) if point.estimate is not None else "0",
    )


def is_compared(block: LayerCurve) -> bool:
    """Whether any point has a lift over something."""
    return any(point.lift is not None for curve in block.curves for point in curve.points)


def is_tested(block: LayerCurve) -> bool:
    """Whether any point has an adjusted p-value."""
    return any(point.adjusted_p is not None for curve in block.curves for point in curve.points)


def strongest_told(point: CurvePoint, chance: float | None) -> str:
    """What the lift is over, with its own value: a control, or guessing."""
    control = strongest_control(point)
    if control is not None:
        return f"{control.name}\n{interval(control.estimate)}"
    if point.strongest == GUESSING and chance is not None:
        return f"{GUESSING}\nchance {guess(chance)}"
    return point.strongest or "no baseline"


def _control_tables(block: LayerCurve, curves: list[Curve]) -> Iterator[Table]:
    """Every control of every target, at the layer with the target's highest value."""
    rows = tuple(
        (
            curve.target,
            best.layer,
            control.name,
            interval(control.estimate),
            signed_interval(control.lift),
        )
        for curve in curves
        if (best := best_point(curve)) is not None
        for control in best.controls
    )
    if rows:
        yield Table(
            caption=sentence(
                f"all controls of {block.metric}, at the layer with each target's highest value"
            ),
            columns=(
                Column("target"),
                Column("layer"),
                Column("control"),
                Column(_heading(f"{block.metric} of the control"), numeric=True),
                Column("lift over it", numeric=True),
            ),
            rows=rows,
            n_headers=3,
            is_detail=True,
        )

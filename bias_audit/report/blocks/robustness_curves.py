"""Robustness curves in words and numbers."""

from __future__ import annotations

from bias_audit.report.elements import BlockText, Column, Table
from bias_audit.report.numbers import interval, interval_note, sentence
from bias_audit.results.blocks import RobustnessCurve, RobustnessCurves, RobustnessPanel


def robustness_curves(block: RobustnessCurves) -> BlockText:
    """Say what was disturbed, name what could not be, and list every point."""
    measured = [panel for panel in block.panels if any(curve.points for curve in panel.curves)]
    missing = dict.fromkeys(
        curve.method for panel in block.panels for curve in panel.curves if not curve.points
    )
    notes = [
        f"{name}: not measured; in some repetition its units lie on one line, which spans no map."
        for name in missing
    ]
    changes = [
        point.change for panel in measured for curve in panel.curves for point in curve.points
    ]
    return BlockText(
        alt=_alt(block, measured) if measured else None,
        caption=sentence(
            f"{block.metric} by the strength of a disturbance, at {block.layer}; lower is better. "
            f"{sentence(block.noun)}s are numbered by rank in the comparison, the recommended one "
            "drawn thick; bands: intervals over repetitions."
        ),
        notes=(*notes, *interval_note(changes)),
        tables=tuple(map(_table, measured)),
    )


def _alt(block: RobustnessCurves, measured: list[RobustnessPanel]) -> str:
    parts = [f"Line charts of the {block.metric} at {block.layer}."]
    for panel in measured:
        curves = [curve for curve in panel.curves if curve.points]
        least = min(curves, key=_at_last)
        most = max(curves, key=_at_last)
        last = least.points[-1]
        parts.append(
            f"Under {panel.disturbance} at strength {last.strength:g}: least {least.method}, "
            f"{interval(last.change)}; most {most.method}, {interval(most.points[-1].change)}."
        )
    return " ".join(parts)


def _at_last(curve: RobustnessCurve) -> float:
    return curve.points[-1].change.value


def _table(panel: RobustnessPanel) -> Table:
    curves = [curve for curve in panel.curves if curve.points]
    strengths = [point.strength for point in curves[0].points]
    rows = tuple(
        (curve.method, *(interval(point.change) for point in curve.points)) for curve in curves
    )
    return Table(
        caption=f"{sentence(panel.disturbance)}: change by {panel.strength}",
        columns=(
            Column("method"),
            *(Column(f"{strength:g}", numeric=True) for strength in strengths),
        ),
        rows=rows,
        excerpt=rows[:60],
        excerpt_note="The 60 best; all are in report.html and audit.json.",
    )

"""How much of the pictures that several methods make survives growing disturbance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from bias_audit.shapes.printed import interval, interval_note, sentence
from bias_audit.shapes.shape import Block, Frozen, Row, Shape
from bias_audit.shapes.tables import BlockText, Column, Table, estimates_of
from bias_audit.statistics.estimate import Estimate


class RobustnessPoint(Frozen):
    """What a method's pictures lose at one strength of a disturbance."""

    strength: float
    change: Estimate


class RobustnessCurve(Frozen):
    """One method under growing disturbance."""

    method: str
    points: tuple[RobustnessPoint, ...]
    """By growing strength; empty where the method has no pictures to disturb."""


class RobustnessPanel(Frozen):
    """One disturbance."""

    disturbance: str
    """Such as "Gaussian blur"."""
    strength: str
    """Name of the strength, for an axis, with its unit."""
    curves: tuple[RobustnessCurve, ...]
    """The recommended method first, as `MethodComparison.methods` has them."""


class RobustnessCurves(Block):
    """How much of the pictures that several methods make survives growing disturbance."""

    block: Literal["robustness_curves"] = "robustness_curves"
    title: str
    noun: str
    """What is compared, in the singular: "layout"."""
    layer: str
    metric: str
    """Name for an axis; 0 where a picture stays as it is."""
    panels: tuple[RobustnessPanel, ...]

    @property
    def counts_images(self) -> bool:
        """Never: estimates count repetitions."""
        return False


def _rows(block: RobustnessCurves) -> Iterator[Row]:
    """Every point of every method's curve."""
    for panel in block.panels:
        for rank, curve in enumerate(panel.curves, 1):
            for point in curve.points:
                yield {
                    "metric": block.metric,
                    "layer": block.layer,
                    "disturbance": panel.disturbance,
                    "entry": curve.method,
                    "rank": rank,
                    "strength": point.strength,
                    "strength_is": panel.strength,
                    "estimate": point.change,
                }


def _text(block: RobustnessCurves) -> BlockText:
    """Say what was disturbed, name what could not be, and list every point."""
    panels = [panel for panel in block.panels if any(curve.points for curve in panel.curves)]
    missing = dict.fromkeys(
        curve.method for panel in block.panels for curve in panel.curves if not curve.points
    )
    return BlockText(
        alt=" ".join([f"Line charts of the {block.metric} at {block.layer}.", *map(_ends, panels)])
        if panels
        else None,
        caption=sentence(
            f"{block.metric} by the strength of a disturbance, at {block.layer}; lower is better. "
            f"{sentence(block.noun)}s are numbered by rank in the comparison, the recommended one "
            "drawn thick; bands: intervals over repetitions."
        ),
        notes=(
            *(
                f"{name}: not measured, because in some repetition its units lie on one line, "
                "which spans no map."
                for name in missing
            ),
            *interval_note(estimates_of(_rows(block))),
        ),
        tables=tuple(map(_table, panels)),
    )


def _ends(panel: RobustnessPanel) -> str:
    """The methods that change least and most at the greatest strength."""
    last = sorted(
        ((curve.points[-1], curve.method) for curve in panel.curves if curve.points),
        key=lambda entry: entry[0].change.value,
    )
    (least, one), (most, other) = last[0], last[-1]
    return (
        f"Under {panel.disturbance} at strength {least.strength:g}: least {one}, "
        f"{interval(least.change)}; most {other}, {interval(most.change)}."
    )


def _table(panel: RobustnessPanel) -> Table:
    curves = [curve for curve in panel.curves if curve.points]
    rows = tuple(
        (curve.method, *(interval(point.change) for point in curve.points)) for curve in curves
    )
    strengths = (Column(f"{p.strength:g}", numeric=True) for p in curves[0].points)
    return Table(
        caption=f"{sentence(panel.disturbance)}: change by {panel.strength}",
        columns=(Column("method"), *strengths),
        rows=rows,
        excerpt=rows[:60],
        excerpt_note="The 60 best; all are in report.html and audit.json.",
    )


_COLUMNS: Final = (
    "metric", "layer", "disturbance", "entry", "rank", "strength", "strength_is", "estimate",
)  # fmt: skip
SHAPE = Shape(
    RobustnessCurves,
    place=110,
    table="robustness",
    about="what the pictures of a method lose at one strength of a disturbance",
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    reading=(
        "A good picture still shows the same when it is blurred or made small. Each curve shows "
        "how much the maps of one layout change; the lower the curve, the more robust the maps.",
    ),
)

"""How much pictures change under growing disturbance, one panel per disturbance."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.layer_curve import End, label_ends
from bias_audit.report.figures.marks import add_mark
from bias_audit.report.figures.style import (
    COLOURS,
    DASHES,
    MARKERS,
    MUTED,
    PLAIN,
    WIDTH,
    Palette,
    grid_lines,
    shortened,
    styled,
)
from bias_audit.shapes.printed import count, format_estimate
from bias_audit.shapes.robustness_curves import RobustnessCurve, RobustnessCurves, RobustnessPanel
from bias_audit.shapes.shape import Arrays

_LINE: Final = 0.135
"""Inches between the names of lines."""
_MOST_NAMED = 30
"""Curves that are drawn; the tables hold all."""


@styled
def robustness_curves(
    block: RobustnessCurves, _arrays: Arrays, _palette: Palette = PLAIN
) -> Figure:
    """Draw every method's curve from (0, 0), where nothing is disturbed, and name it at its end.

    The first is drawn thick; the first six have colours.
    """
    panels = [panel for panel in block.panels if any(curve.points for curve in panel.curves)]
    n_curves = min(_MOST_NAMED, max(len(panel.curves) for panel in panels))
    height = max(1.9, _LINE * n_curves + 0.25)
    figure = Figure(figsize=(WIDTH, (height + 0.5) * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, panel in zip(grid, panels, strict=True):
        ends = []
        for number, curve in enumerate(panel.curves[:_MOST_NAMED]):
            if curve.points:
                ends.append(_draw(axes, curve, number))
        _finish(axes, panel)
        _mark(axes, panel)
        label_ends(axes, sorted(ends, key=lambda end: end.value), _LINE / (height - 0.1))
    figure.supylabel(block.metric, fontsize=8)
    return figure


def _draw(axes: Axes, curve: RobustnessCurve, number: int) -> End:
    colour = COLOURS[number] if number < len(COLOURS) else MUTED
    strengths = np.array([0.0, *(point.strength for point in curve.points)])
    values, lower, upper = (
        np.array([0.0, *(getattr(point.change, part) for point in curve.points)])
        for part in ("value", "lower", "upper")
    )
    if number < len(COLOURS):
        axes.fill_between(strengths, lower, upper, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        strengths,
        values,
        color=colour,
        linestyle=DASHES[number % len(DASHES)],
        linewidth=2.2 if number == 0 else 0.9,
        marker=MARKERS[number % len(MARKERS)],
        markersize=4 if number == 0 else 2.6,
        markerfacecolor=colour if number < len(COLOURS) else "none",
        markeredgewidth=0.6,
        label=curve.method,
        zorder=4 - min(number, 2),
    )
    return End(float(values[-1]), f"{number + 1}. {shortened(curve.method, 30)}", colour)


def _mark(axes: Axes, panel: RobustnessPanel) -> None:
    """A mark per strength, as high as the panel, with the curves that have colours."""
    strengths = sorted({point.strength for curve in panel.curves for point in curve.points})
    ends = [0.0, *strengths]
    middles = [(one + two) / 2 for one, two in pairwise(ends)]
    last = axes.get_xlim()[1]
    for strength, left, right in zip(strengths, middles, [*middles[1:], last], strict=True):
        changes = {
            curve.method: point.change
            for curve in panel.curves
            for point in curve.points
            if point.strength == strength
        }
        parts = [
            f"{method} {format_estimate(changes[method])}"
            for method in list(changes)[: len(COLOURS)]
        ]
        if len(changes) > len(parts):
            parts.append(f"{count(len(changes) - len(parts))} more are in the table")
        key = f"{panel.strength} {strength:g}"
        add_mark(
            axes, axes.get_xaxis_transform(), (left, 0, right, 1), key=key, text="; ".join(parts)
        )


def _finish(axes: Axes, panel: RobustnessPanel) -> None:
    grid_lines(axes, "y")
    axes.margins(x=0.01)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    strengths = {point.strength for curve in panel.curves for point in curve.points}
    axes.set_xticks([0, *sorted(strengths)])
    axes.set_xlabel(panel.strength)
    axes.set_title(panel.disturbance.capitalize(), fontsize=8.5, loc="left", pad=3)


DRAWING = Drawing(robustness_curves, keys=lambda _: "strength")

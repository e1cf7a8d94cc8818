"""Entries by measures, a panel of dots for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import mark_row
from bias_audit.report.figures.style import (
    COLOURS,
    MUTED,
    PLAIN,
    WIDTH,
    Palette,
    dotted_line,
    draw_dot,
    grid_lines,
    shortened,
    styled,
)
from bias_audit.shapes.measures import Measures, label_of
from bias_audit.shapes.printed import format_estimate
from bias_audit.shapes.shape import Arrays

_PITCH: Final = 0.17
"""Inches between rows."""
_COLUMNS: Final = 4
_ARROWS: Final = {"higher": " (↑)", "lower": " (↓)", None: ""}


@styled
def measures(block: Measures, _arrays: Arrays, _palette: Palette = PLAIN) -> Figure:
    """Draw a panel for each measure, the names of the entries at the left of each row of panels.

    An arrow shows the better direction; faint entries are hollow.
    """
    labels = [label_of(block, entry) for entry in block.drawn()]
    columns = min(_COLUMNS, len(block.measures))
    n_rows = -(-len(block.measures) // columns)
    height = (_PITCH * (len(labels) + 1) + 0.5) * n_rows
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.ravel()):
        if place < len(block.measures):
            _draw(axes, block, place, labels)
        else:
            axes.set_axis_off()
    grid[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    shown = [shortened(label, 26) for label in labels]
    grid[0, 0].set_yticks(np.arange(len(labels)), shown, fontsize=7)
    return figure


def _draw(axes: Axes, block: Measures, place: int, labels: Sequence[str]) -> None:
    """The panel of the measure at a place."""
    measure = block.measures[place]
    title = f"{measure.name}{_ARROWS[measure.better]}"
    grid_lines(axes, "x")
    axes.set_title(shortened(title, 26), fontsize=7.5, loc="left")
    ends = [] if measure.reference is None else [measure.reference]
    for row, (label, entry) in enumerate(zip(labels, block.drawn(), strict=True)):
        value = entry.values[place]
        text = "not measured" if value is None else format_estimate(value)
        mark_row(axes, row, key=label, text=f"{title}: {label}: {text}")
        if value is None:
            axes.text(
                0.02, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=6,
                color=MUTED, style="italic",
            )  # fmt: skip
            continue
        draw_dot(axes, row, value, COLOURS[0], size=3.6, is_hollow=entry.is_faint)
        ends += [value.lower, value.upper]
    if measure.reference is not None:
        dotted_line(axes, measure.reference)
    if ends:
        low, high = min(*ends, 0.0), max(ends)
        room = 0.06 * ((high - low) or 1.0)
        axes.set_xlim(low - room, high + room)
    else:
        axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6.5)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


DRAWING = Drawing(measures, keys=lambda block: block.noun)

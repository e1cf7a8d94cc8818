"""Entries by measures, a panel of dots for each measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    grid_lines,
    shortened,
    styled,
)
from bias_audit.shapes.measures import Measures, label_of
from bias_audit.shapes.printed import format_estimate
from bias_audit.shapes.shape import Arrays
from bias_audit.statistics.estimate import Estimate

_PITCH: Final = 0.17
"""Inches between rows."""
_COLUMNS: Final = 4
_ARROWS: Final = {"higher": " (↑)", "lower": " (↓)", None: ""}


@dataclass(frozen=True)
class Panel:
    """One quantity of every row."""

    title: str
    estimates: tuple[Estimate | None, ...]
    reference: float | None = None
    """Where a dotted line stands."""
    has_zero: bool = True
    """Whether 0 is on the axis, whatever the estimates."""


@styled
def measures(
    block: Measures,
    arrays: Arrays,  # noqa: ARG001
    palette: Palette = PLAIN,  # noqa: ARG001
) -> Figure:
    """Draw every measure of the entries that are drawn, with an arrow in the better direction."""
    entries = block.drawn()
    panels = [
        Panel(
            f"{measure.name}{_ARROWS[measure.better]}",
            tuple(entry.values[place] for entry in entries),
            measure.reference,
        )
        for place, measure in enumerate(block.measures)
    ]
    return dot_panels(
        panels,
        [label_of(block, entry) for entry in entries],
        columns=min(_COLUMNS, len(panels)),
        faint=[entry.is_faint for entry in entries],
    )


def dot_panels(
    panels: Sequence[Panel], labels: Sequence[str], *, columns: int, faint: Sequence[bool] = ()
) -> Figure:
    """Draw panels in rows, the names of the dots at the left of each; faint ones are hollow."""
    n_rows = -(-len(panels) // columns)
    height = (_PITCH * (len(labels) + 1) + 0.5) * n_rows
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(n_rows, columns, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.ravel()):
        if place >= len(panels):
            axes.set_axis_off()
            continue
        _draw(axes, panels[place], labels, faint or [False] * len(labels))
    grid[0, 0].set_ylim(len(labels) - 0.4, -0.6)
    shown = [shortened(label, 26) for label in labels]
    grid[0, 0].set_yticks(np.arange(len(labels)), shown, fontsize=7)
    return figure


def _draw(axes: Axes, panel: Panel, labels: Sequence[str], faint: Sequence[bool]) -> None:
    grid_lines(axes, "x")
    axes.set_title(shortened(panel.title, 26), fontsize=7.5, loc="left")
    for place, (label, value) in enumerate(zip(labels, panel.estimates, strict=True)):
        text = "not measured" if value is None else format_estimate(value)
        key = f"{panel.title}: {label}"
        mark_row(axes, place, key=label, text=f"{key}: {text}")
        if value is None:
            axes.text(
                0.02, place, "not measured", transform=axes.get_yaxis_transform(), va="center",
                fontsize=6, color=MUTED, style="italic",
            )  # fmt: skip
            continue
        colour = COLOURS[0]
        axes.plot([value.lower, value.upper], [place, place], color=colour, linewidth=1.1)
        axes.plot(
            [value.value], [place], marker="o", markersize=3.6, color=colour,
            markerfacecolor="white" if faint[place] else colour, zorder=2.5,
        )  # fmt: skip
    if panel.reference is not None:
        dotted_line(axes, panel.reference)
    _limits(axes, panel)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6.5)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4)


def _limits(axes: Axes, panel: Panel) -> None:
    ends = [end for e in panel.estimates if e is not None for end in (e.lower, e.upper)]
    ends += [] if panel.reference is None else [panel.reference]
    if not ends:
        axes.set_xticks([])
        return
    low, high = min(ends), max(ends)
    low = min(low, 0.0) if panel.has_zero else low
    room = 0.06 * ((high - low) or 1.0)
    axes.set_xlim(low - room, high + room)


DRAWING = Drawing(measures, keys=lambda block: block.noun)

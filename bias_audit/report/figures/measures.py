"""Entries by measures, a panel of dots for each measure."""

from __future__ import annotations

from typing import Final

from matplotlib.figure import Figure

from bias_audit.report.figures.dot_panels import Panel, dot_panels
from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.style import PLAIN, Palette, styled
from bias_audit.shapes.measures import Measures, label_of
from bias_audit.shapes.shape import Arrays

_COLUMNS: Final = 4
_ARROWS: Final = {"higher": " (↑)", "lower": " (↓)", None: ""}


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


DRAWING = Drawing(measures, keys=lambda block: block.noun)

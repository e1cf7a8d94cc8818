"""A metric of every group."""

from __future__ import annotations

from matplotlib.figure import Figure

from bias_audit.report.figures.dot_plot import Dot, Look, dot_plot
from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.style import PLAIN, Palette, styled
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading


@styled
def group_table(
    block: GroupTable,
    arrays: Arrays,  # noqa: ARG001
    palette: Palette = PLAIN,
) -> Figure:
    """Draw a dot with its interval per group, its shrunk estimate, and a tick for chance."""
    dots = [
        Dot(row.group, row.n, row.estimate, row.reason, row.by_chance, row.shrunk)
        for row in block.rows
    ]
    look = Look(palette.colour(block.target), palette.marker(block.target))
    return dot_plot(dots, metric=block.metric, chance=block.chance, look=look)


DRAWING = Drawing(group_table, keys=lambda block: group_heading([row.group for row in block.rows]))

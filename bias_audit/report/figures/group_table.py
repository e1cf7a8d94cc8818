"""A metric of every group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_plot import Dot, Look, dot_plot
from bias_audit.report.figures.style import PLAIN, Palette, styled
from bias_audit.results.blocks import GroupTable


@styled
def group_table(
    block: GroupTable,
    arrays: Mapping[str, npt.NDArray[Any]],  # noqa: ARG001
    palette: Palette = PLAIN,
) -> Figure:
    """Draw a dot with its interval per group, its shrunk estimate, and a tick for chance."""
    dots = [
        Dot(row.group, row.n, row.estimate, row.reason, row.by_chance, row.shrunk)
        for row in block.rows
    ]
    look = Look(palette.colour(block.target), palette.marker(block.target))
    return dot_plot(dots, metric=block.metric, chance=block.chance, look=look)

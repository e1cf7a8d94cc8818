"""A metric of every group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_plot import Dot, dot_plot
from bias_audit.report.figures.style import styled
from bias_audit.results.blocks import GroupTable


@styled
def group_table(block: GroupTable, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Draw a dot with its interval per group, its shrunk estimate, and a tick for chance."""
    dots = [
        Dot(row.group, row.n, row.estimate, row.reason, row.by_chance, row.shrunk)
        for row in block.rows
    ]
    return dot_plot(dots, metric=block.metric, chance=block.chance)

"""How far each group's profile lies from the mean over groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_plot import Dot, dot_plot
from bias_audit.report.figures.style import styled
from bias_audit.results.blocks import GroupProfiles

AXIS = "distance from the mean over groups, in standard deviations within groups"


@styled
def group_profiles(block: GroupProfiles, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Draw the deviation of every group with its interval."""
    dots = [Dot(row.group, row.n, row.deviation, row.reason) for row in block.rows]
    return dot_plot(dots, metric=AXIS, chance=None)

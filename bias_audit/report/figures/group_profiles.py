"""How far each group's profile lies from the mean over groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.dot_plot import Dot, Look, dot_plot
from bias_audit.report.figures.style import PLAIN, Palette, styled
from bias_audit.results.blocks import GroupProfiles

AXIS = "distance from the mean over groups, in standard deviations within groups"


@styled
def group_profiles(
    block: GroupProfiles,
    arrays: Mapping[str, npt.NDArray[Any]],  # noqa: ARG001
    palette: Palette = PLAIN,
) -> Figure:
    """Draw the deviation of every group with its interval."""
    dots = [Dot(row.group, row.n, row.deviation, row.reason) for row in block.rows]
    names = {name for row in block.rows for name, _ in row.group.levels}
    target = next(iter(names)) if len(names) == 1 else "several attributes"
    look = Look(palette.colour(target), palette.marker(target))
    return dot_plot(dots, metric=AXIS, chance=None, look=look)

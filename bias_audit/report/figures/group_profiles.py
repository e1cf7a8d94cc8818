"""How far each group's profile lies from the mean over groups."""

from __future__ import annotations

from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.group_table import dot_plot
from bias_audit.report.figures.style import PLAIN, Palette, styled
from bias_audit.shapes.group_profiles import GroupProfiles
from bias_audit.shapes.group_table import GroupRow
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading

AXIS = "distance from the mean over groups, in standard deviations within groups"


@styled
def group_profiles(block: GroupProfiles, _arrays: Arrays, palette: Palette = PLAIN) -> Figure:
    """Draw the deviation of every group with its interval."""
    dots = [
        GroupRow(group=row.group, n=row.n, estimate=row.deviation, reason=row.reason)
        for row in block.rows
    ]
    names = {name for row in block.rows for name, _ in row.group.levels}
    target = next(iter(names)) if len(names) == 1 else "several attributes"
    return dot_plot(dots, metric=AXIS, chance=None, look=palette.look(target))


DRAWING = Drawing(
    group_profiles, keys=lambda block: group_heading([row.group for row in block.rows])
)

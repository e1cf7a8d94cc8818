"""Topographic maps of the levels of every attribute, as large tiles."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bias_audit.report.figures.map_sheet import (
    Band,
    banded,
    banded_figure,
    colour_bar,
    draw_group,
    draw_label,
    mark_tile,
    wrapped,
)
from bias_audit.report.figures.style import shortened
from bias_audit.shapes.printed import count, percent_interval
from bias_audit.shapes.unit_map import UnitMap

AXIS: Final = "mean activation, less the average over groups"
_ROOM, _SMALL = 0.31, 8.0


def level_maps(block: UnitMap, rasters: npt.NDArray[Any]) -> Figure:
    """Draw the levels of every attribute in a band of their own, headed by what it explains.

    Args:
        block: Its groups have one level each.
        rasters: Shape (n_groups, side, side), row 0 at the bottom.
    """
    shares = {entry.attribute: entry.share for entry in block.shares}
    bands = []
    for name in dict.fromkeys(group.levels[0][0] for group in block.groups):
        places = [i for i, group in enumerate(block.groups) if group.levels[0][0] == name]
        heading = shortened(name, 40)
        if name in shares:
            heading += f": explains {percent_interval(shares[name])} of the differences"
        bands.append(Band(heading, tuple(places)))
    sheet = banded(bands, most_columns=5, room=_ROOM)
    figure, axes = banded_figure(sheet)
    scale = Normalize(-block.limit, block.limit)
    for placed in sheet.tiles:
        n = block.counts[placed.index]
        raster = rasters[placed.index] if n else None
        draw_group(axes, placed, raster, scale, size=_SMALL)
        name = wrapped(block.groups[placed.index].label, 18)
        draw_label(axes, placed, f"{name}\nn {count(n)}" if n else name, size=_SMALL)
        text = f"n = {count(n)}" if n else "no images"
        mark_tile(axes, placed, key=block.groups[placed.index].label, text=text)
    exceeds = bool(np.nanmax(np.abs(rasters)) > block.limit * (1 + 1e-6))
    colour_bar(figure, scale, AXIS, exceeds=exceeds)
    return figure

"""Topographic maps of group profiles, one tile per group on one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.intersection_sheet import intersection_sheet
from bias_audit.report.figures.map_sheet import (
    STEP_X,
    Band,
    Placed,
    banded,
    banded_figure,
    colour_bar,
    draw_group,
    draw_label,
    mark_tile,
    sheet_axes,
    wrapped,
)
from bias_audit.report.figures.style import PLAIN, WIDTH, Palette, shortened, styled
from bias_audit.report.grid import arranged
from bias_audit.shapes.printed import count, percent_interval
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading
from bias_audit.shapes.unit_map import UnitMap, rasters_of

_AXIS: Final = "mean activation, less the average over groups"
_ROOM, _SMALL = 0.31, 8.0


@styled
def unit_map(
    block: UnitMap,
    arrays: Arrays,
    palette: Palette = PLAIN,  # noqa: ARG001
) -> Figure:
    """Draw every group's raster with its number of images; empty groups as blank tiles.

    Args:
        block: The maps of one layer.
        arrays: Holds `block.rasters`, shape (n_groups, side, side), row 0 at the bottom.
        palette: Not used: colours stand for values.

    Raises:
        ValueError: The array does not belong to the block.
    """
    rasters = rasters_of(block, arrays)
    if all(len(group.levels) == 1 for group in block.groups):
        return _level_maps(block, rasters)
    if grid := arranged(block.groups):
        chance = arrays[block.chance] if block.chance else None
        return intersection_sheet(block, rasters, grid, _AXIS, chance)
    return _wrapped(block, rasters)


def _wrapped(block: UnitMap, rasters: npt.NDArray[Any]) -> Figure:
    """Groups in reading order, each with its label: those that are not all combinations."""
    return _banded(block, rasters, [Band("", tuple(range(len(block.groups))))])


def _level_maps(block: UnitMap, rasters: npt.NDArray[Any]) -> Figure:
    """Draw the levels of every attribute in a band of their own, headed by what it explains.

    Rasters have shape (n_groups, side, side), row 0 at the bottom.
    """
    shares = {entry.attribute: entry.share for entry in block.shares}
    bands = []
    for name in dict.fromkeys(group.levels[0][0] for group in block.groups):
        places = [i for i, group in enumerate(block.groups) if group.levels[0][0] == name]
        heading = shortened(name, 40)
        if name in shares:
            heading += f": explains {percent_interval(shares[name])} of the differences"
        bands.append(Band(heading, tuple(places)))
    return _banded(block, rasters, bands)


def _banded(block: UnitMap, rasters: npt.NDArray[Any], bands: Sequence[Band]) -> Figure:
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
    colour_bar(figure, scale, _AXIS, exceeds=exceeds)
    return figure


@styled
def strip(block: UnitMap, rasters: npt.NDArray[Any], attribute: str) -> Figure:
    """Draw the levels of one attribute side by side; of two, which mirror each other, the first.

    Rasters have shape (n_groups, side, side), row 0 at the bottom.
    """
    places = [i for i, group in enumerate(block.groups) if group.levels[0][0] == attribute]
    shown = places[:1] if len(places) == 2 else places  # noqa: PLR2004
    tile = min(WIDTH / (len(shown) * STEP_X), 0.9)
    head = 0.3
    figure = Figure(figsize=(tile * len(shown) * STEP_X, tile + head))
    axes = sheet_axes(figure, left=0, top=head, size=(len(shown) * STEP_X, 1), tile=tile)
    scale = Normalize(-block.limit, block.limit)
    for column, place in enumerate(shown):
        n, placed = block.counts[place], Placed(place, column * STEP_X, 0)
        draw_group(axes, placed, rasters[place] if n else None, scale, size=7)
        label = block.groups[place].label
        draw_label(axes, placed, wrapped(label, max(6, int(13 * tile))), size=7.5)
        mark_tile(axes, placed, key=label, text=f"n = {count(n)}" if n else "no images")
    return figure


DRAWING = Drawing(
    unit_map,
    "png",
    arrays=lambda block: (block.rasters, *([block.chance] if block.chance else [])),
    keys=lambda block: group_heading(block.groups),
    is_landscape=lambda block: len(block.groups[0].levels) > 1,
)

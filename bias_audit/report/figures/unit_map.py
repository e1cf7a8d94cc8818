"""Topographic maps of group profiles, one tile per group on one colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bias_audit.groups import Group
from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.map_sheet import (
    FOOT,
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
from bias_audit.report.figures.style import INK, PLAIN, WIDTH, Palette, shortened, styled
from bias_audit.report.grid import Grid, column_choices, grid_by_columns
from bias_audit.shapes.printed import count, percent_interval
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading
from bias_audit.shapes.unit_map import UnitMap, rasters_of

_AXIS: Final = "mean activation, less the average over groups"
_ROOM, _SMALL = 0.31, 8.0
_STEP_Y: Final = 1.26
"""Distance of tiles down, in tile sides: room for a line of text."""
_FEW = 40
_MANY, _COARSE = 60, 120
"""Sheets of more tiles are shrunk wherever they are read, so fewer dots per inch show all."""


@dataclass(frozen=True)
class _Tile:
    group: int
    column: int
    row: int
    label: str


@dataclass(frozen=True)
class _Sheet:
    """Where tiles and the names of rows and columns go."""

    tiles: tuple[_Tile, ...]
    n_columns: int
    n_rows: int
    row_names: tuple[str, ...]
    column_names: tuple[tuple[str, ...], ...]


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
    sheet = _sheet(block.groups)
    many = len(block.groups) > _FEW
    width = 9.6 if many else 7.6
    left = (1.45 if many else 1.15) if any(sheet.row_names) else 0.1
    tile = min((width - left - 0.1) / (sheet.n_columns * STEP_X), 1.45)
    width = left + 0.1 + tile * sheet.n_columns * STEP_X
    width = max(width, 4.6)
    levels = max(map(len, sheet.column_names), default=0)
    head = 0.022 * _sizes(block.groups)[1] * (0.8 + 1.5 * levels)
    size = sheet.n_columns * STEP_X, sheet.n_rows * _STEP_Y
    dots = _COARSE if len(block.groups) > _MANY else None
    figure = Figure(figsize=(width, head + tile * size[1] + FOOT), dpi=dots)
    axes = sheet_axes(figure, left=left, top=head, size=size, tile=tile)
    scale = Normalize(-block.limit, block.limit)
    for entry in sheet.tiles:
        _draw_tile(axes, entry, block, rasters, scale)
    _name_rows_and_columns(axes, sheet, tile, _sizes(block.groups)[1])
    exceeds = bool(np.nanmax(np.abs(rasters)) > block.limit * (1 + 1e-6))
    colour_bar(figure, scale, _AXIS, exceeds=exceeds)
    return figure


def _sheet(groups: Sequence[Group]) -> _Sheet:
    grids = [grid for c in column_choices(groups) if (grid := grid_by_columns(groups, c))]
    if not grids:
        return _wrapped(groups)
    height = 5.5 if len(groups) <= _FEW else 12.0

    def tile(grid: Grid) -> float:
        return min(8.5 / len(grid.columns), height / len(grid.rows), 1.45)

    return _arranged(max(grids, key=tile))


def _wrapped(groups: Sequence[Group]) -> _Sheet:
    """Groups in reading order, each with its label: for those that span no grid."""
    n_columns = min(len(groups), 5 if len(groups) <= _FEW else 9)
    tiles = tuple(
        _Tile(index, index % n_columns, index // n_columns, shortened(group.label, 26))
        for index, group in enumerate(groups)
    )
    return _Sheet(tiles, n_columns, -(-len(groups) // n_columns), (), ())


def _arranged(grid: Grid) -> _Sheet:
    tiles = tuple(
        _Tile(grid.places[row, column], x, y, "")
        for y, row in enumerate(grid.rows)
        for x, column in enumerate(grid.columns)
    )
    names = tuple("\n".join(wrapped(level, 16) for level in row) for row in grid.rows)
    return _Sheet(tiles, len(grid.columns), len(grid.rows), names, grid.columns)


def _sizes(groups: Sequence[Group]) -> tuple[float, float]:
    """Font sizes of counts and of names: a sheet of many tiles is shrunk on paper."""
    return (6.6, 8.0) if len(groups) <= _FEW else (9.5, 11.0)


def _draw_tile(
    axes: Axes, tile: _Tile, block: UnitMap, rasters: npt.NDArray[Any], scale: Normalize
) -> None:
    placed = Placed(tile.group, tile.column * STEP_X, tile.row * _STEP_Y + (_STEP_Y - 1))
    small = _sizes(block.groups)[0]
    n = block.counts[tile.group]
    draw_group(axes, placed, rasters[tile.group] if n else None, scale, size=small)
    label = "\n".join([*([tile.label] if tile.label else []), *([f"n {n}"] if n else [])])
    draw_label(axes, placed, label, size=small)
    text = f"n = {count(n)}" if n else "no images"
    mark_tile(axes, placed, key=block.groups[tile.group].label, text=text)


def _name_rows_and_columns(axes: Axes, sheet: _Sheet, tile: float, size: float) -> None:
    for y, name in enumerate(sheet.row_names):
        middle = y * _STEP_Y + (_STEP_Y - 0.5)
        axes.text(-0.1, middle, name, ha="right", va="center", fontsize=size, color=INK)
    depth = max(map(len, sheet.column_names), default=0)
    line = 0.022 * size / tile  # height of a line of names, in tile sides
    for level in range(depth):
        above = -(depth - 1 - level) * 1.5 * line - 0.02
        for first, last, name in _runs([names[: level + 1] for names in sheet.column_names]):
            middle = ((first + last) * STEP_X + 1) / 2
            text = wrapped(name, max(6, int(120 / size * tile * (last - first + 1))))
            axes.text(middle, above, text, ha="center", va="bottom", fontsize=size, color=INK)


def _runs(names: Sequence[tuple[str, ...]]) -> list[tuple[int, int, str]]:
    """Columns that share a name: first, last, name."""
    runs: list[tuple[int, int, str]] = []
    for place, name in enumerate(names):
        if place and names[place - 1] == name:
            runs[-1] = (runs[-1][0], place, name[-1])
        else:
            runs.append((place, place, name[-1]))
    return runs


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
    arrays=lambda block: (block.rasters,),
    keys=lambda block: group_heading(block.groups),
)

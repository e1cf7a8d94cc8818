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

from bias_audit.groups import Attribute
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
from bias_audit.report.figures.style import INK, MUTED, PLAIN, WIDTH, Palette, shortened, styled
from bias_audit.report.grid import Grid, Levels, arranged
from bias_audit.shapes.printed import count, percent_interval
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading
from bias_audit.shapes.unit_map import UnitMap, rasters_of

_AXIS: Final = "mean activation, less the average over groups"
_ROOM, _SMALL = 0.31, 8.0


@styled
def unit_map(block: UnitMap, arrays: Arrays, _palette: Palette = PLAIN) -> Figure:
    """Draw every group's raster with its number of images; empty groups as blank tiles.

    Args:
        block: The maps of one layer.
        arrays: Holds `block.rasters`, shape (n_groups, side, side), row 0 at the bottom.

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


_WIDTH, _HEIGHT = 10.3, 6.4
"""Inches: the text area of a landscape A4 page, less the caption."""
_LARGEST, _SMALLEST = 0.95, 0.28
_LEFT: Final = 0.95
"""Inches for the names of rows."""
_STEP: Final = 1.06
"""Distance of tiles, in tile sides."""
_GAP: Final = 0.22
"""Before the means at the edge, in tile sides."""
_BETWEEN: Final = 0.55
"""Between blocks, in tile sides."""
_TEXT: Final = 7.5
_PALE: Final = 0.45
"""Opacity of maps from few images."""

Raster = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Tile:
    left: float
    top: float
    raster: Raster | None
    key: str
    text: str
    note: str = ""
    """Printed in its corner."""
    is_pale: bool = False


@dataclass(frozen=True)
class _Name:
    left: float
    top: float
    text: str
    side: str = "center"
    is_heading: bool = False


def intersection_sheet(
    block: UnitMap, rasters: Raster, grid: Grid, axis: str, chance: Raster | None
) -> Figure:
    """Draw every group's map, the means over each attribute, and one map of chance.

    The central figure of Krug & Stober 2025 (arXiv:2506.03664), with rows and columns for each
    attribute, so that the eye can follow one attribute while the others stay the same.

    Args:
        block: The maps of one layer.
        rasters: Shape (n_groups, side, side), row 0 at the bottom.
        grid: Arrangement of the block's groups.
        axis: Names the colour scale.
        chance: The map of images drawn at random, shape (side, side); None where there is none.
    """
    plan = _Plan(block, rasters, grid)
    if chance is not None:
        plan.add_chance(chance)
    tile = min((_WIDTH - _LEFT - 0.1) / plan.width, (_HEIGHT - FOOT) / plan.height, _LARGEST)
    tile = max(tile, _SMALLEST)
    figure = Figure(
        figsize=(_LEFT + 0.1 + tile * plan.width, 0.1 + tile * plan.height + FOOT), dpi=150
    )
    axes = sheet_axes(figure, left=_LEFT, top=0.1, size=(plan.width, plan.height), tile=tile)
    scale = Normalize(-block.limit, block.limit)
    for each in plan.tiles:
        _draw(axes, each, scale)
    for name in plan.names:
        axes.text(
            name.left, name.top, name.text, ha=name.side, color=INK, linespacing=0.95,
            va="center" if name.side == "right" else "bottom",
            fontsize=9.5 if name.is_heading else _TEXT,
            weight="bold" if name.is_heading else "normal",
        )  # fmt: skip
    exceeds = bool(np.nanmax(np.abs(rasters)) > block.limit * (1 + 1e-6))
    colour_bar(figure, scale, axis, exceeds=exceeds)
    return figure


def _draw(axes: Axes, tile: _Tile, scale: Normalize) -> None:
    placed = Placed(0, tile.left, tile.top)
    draw_group(
        axes, placed, tile.raster, scale, size=7, without="too\nfew",
        alpha=_PALE if tile.is_pale else 1.0,
    )  # fmt: skip
    if tile.note:
        axes.text(
            tile.left + 0.97, tile.top + 0.97, tile.note, ha="right", va="bottom",
            fontsize=_TEXT - 0.5, color=MUTED, zorder=6,
        )  # fmt: skip
    mark_tile(axes, placed, key=tile.key, text=tile.text)


class _Plan:
    """Where everything goes, in tile sides: blocks side by side, and means at the edges."""

    def __init__(self, block: UnitMap, rasters: Raster, grid: Grid) -> None:
        self.block, self.rasters, self.grid = block, rasters, grid
        self.tiles: list[_Tile] = []
        self.names: list[_Name] = []
        self.usual = _usual(block.counts)
        self.columns, self.rows = grid.columns.levels, grid.row_levels
        self.edge = len(self.columns) * _STEP + _GAP
        """Left end of the means over the columns, within a block."""
        self.head = 1.15 if grid.blocks else 0.6
        self.below = self.head + len(self.rows) * _STEP + _GAP
        """Top of the means over the rows."""
        wide = (self.edge + _STEP if grid.rows else len(self.columns) * _STEP) + _BETWEEN
        self.width = len(grid.block_levels) * wide - _BETWEEN
        self.height = self.below + _STEP if grid.rows else self.head + _STEP
        for number, of_block in enumerate(grid.block_levels):
            self._add_groups(of_block, number * wide)
            if grid.rows:
                self._add_means(of_block, number * wide)
        self._name_rows()
        if grid.blocks:
            self._add_means_over_blocks(self.width + _BETWEEN)
            self.width += _BETWEEN + _STEP
            self.height += _GAP + _STEP

    def _add_groups(self, of_block: Levels, start: float) -> None:
        for x, column in enumerate(self.columns):
            left = start + x * _STEP
            self.names.append(_Name(left + 0.5, self.head - 0.06, wrapped(column, 9)))
            for y, row in enumerate(self.rows):
                place = self.grid.places[of_block, row, column]
                self.tiles.append(self._group(place, left, self.head + y * _STEP))
        if of_block:
            middle = start + len(self.columns) * _STEP / 2
            heading = " / ".join(of_block)
            self.names.append(_Name(middle, self.head - 0.72, heading, is_heading=True))

    def _group(self, place: int, left: float, top: float) -> _Tile:
        n = self.block.counts[place]
        return _Tile(
            left,
            top,
            self.rasters[place] if n else None,
            self.block.groups[place].label,
            f"n = {count(n)}" if n else "too few images",
            note="" if n == self.usual or not n else f"n {count(n)}",
            is_pale=0 < n < self.block.minimum,
        )

    def _add_means(self, of_block: Levels, start: float) -> None:
        """Over the columns, over the rows, and over both."""
        places, left = self.grid.places, start + self.edge
        said = wrapped(_all(self.grid.columns), 9)
        self.names.append(_Name(left + 0.5, self.head - 0.06, said))
        for y, row in enumerate(self.rows):
            inside = [places[of_block, row, column] for column in self.columns]
            self._mean(inside, left, self.head + y * _STEP, (*row, *of_block))
        for x, column in enumerate(self.columns):
            inside = [places[of_block, row, column] for row in self.rows]
            self._mean(inside, start + x * _STEP, self.below, (column, *of_block))
        if of_block:
            every = [places[of_block, row, column] for row in self.rows for column in self.columns]
            self._mean(every, left, self.below, of_block)

    def _add_means_over_blocks(self, left: float) -> None:
        said = wrapped(_all(self.grid.blocks[0]), 9)
        self.names.append(_Name(left + 0.5, self.head - 0.06, said))
        for y, row in enumerate(self.rows):
            inside = [i for (_, of_row, _), i in self.grid.places.items() if of_row == row]
            self._mean(inside, left, self.head + y * _STEP, row)
        bottom = self.below + _STEP + _GAP
        for x, column in enumerate(self.columns):
            inside = [i for (_, _, level), i in self.grid.places.items() if level == column]
            self._mean(inside, x * _STEP, bottom, (column,))
        both = f"{_all(self.grid.rows[0])}, {_all(self.grid.blocks[0])}"
        self.names.append(_Name(-0.12, bottom + 0.5, wrapped(both, 16), "right"))

    def add_chance(self, raster: Raster) -> None:
        """The map of as many images as most groups have, in the lower right corner."""
        left, top = max(self.width - _STEP, 0), self.height - _STEP
        if not self.grid.blocks:
            left, self.width = self.width + _BETWEEN, self.width + _BETWEEN + _STEP
        n = self.block.chance_images
        self.tiles.append(_Tile(left, top, raster, "chance", f"{count(n)} random images"))
        self.names.append(_Name(left + 0.5, top - 0.06, f"chance:\n{count(n)} faces"))

    def _mean(self, places: Sequence[int], left: float, top: float, levels: Levels) -> None:
        """The mean of some groups' maps, each counting the same."""
        there = [place for place in places if self.block.counts[place]]
        raster = self.rasters[there].mean(axis=0) if there else None
        text = f"mean of {len(there)} groups"
        counts = [self.block.counts[place] for place in there]
        is_pale = bool(counts) and max(counts) < self.block.minimum
        tile = _Tile(left, top, raster, " / ".join(levels), text, is_pale=is_pale)
        self.tiles.append(tile)

    def _name_rows(self) -> None:
        named = [(self.head + y * _STEP, " / ".join(row)) for y, row in enumerate(self.rows)]
        if self.grid.rows:
            named.append((self.below, _all(self.grid.rows[0])))
        self.names += [_Name(-0.12, top + 0.5, wrapped(said, 14), "right") for top, said in named]


def _all(attribute: Attribute) -> str:
    """Such as "all ages"."""
    return f"all {attribute.name}{'' if attribute.name.endswith('s') else 's'}"


def _usual(counts: Sequence[int]) -> int | None:
    """The number of images that most groups have; None where no number is that of most."""
    there = [n for n in counts if n]
    values, times = np.unique(there, return_counts=True)
    top = int(times.argmax())
    return int(values[top]) if times[top] > len(there) / 2 else None

"""Sheets of small maps: where tiles go, their frames, and one colour scale."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bias_audit.report.figures.marks import add_mark
from bias_audit.report.figures.style import INK, MUTED, shortened

COLOURS: Final = "RdBu_r"
STEP_X: Final = 1.08
"""Distance of tiles across, in tile sides."""
FOOT: Final = 0.85
"""Inches for the colour scale."""
_HEADING = 0.2
"""Room for a band's heading, in tile sides."""
_WIDEST, _NARROWEST, _LARGEST = 7.4, 4.6, 1.45
"""Inches: all tiles side by side, a figure, a tile."""


@dataclass(frozen=True)
class Band:
    """Tiles under one heading."""

    heading: str
    tiles: tuple[int, ...]
    """Indices of what is drawn."""


@dataclass(frozen=True)
class Placed:
    """A tile's upper left corner, in tile sides."""

    index: int
    left: float
    top: float


@dataclass(frozen=True)
class BandedSheet:
    """Tiles in bands, each with a heading above it."""

    tiles: tuple[Placed, ...]
    headings: tuple[tuple[float, str], ...]
    """Height of the line's bottom, in tile sides, and the text."""
    width: float
    height: float


def banded(bands: Sequence[Band], *, most_columns: int, room: float) -> BandedSheet:
    """Lay bands out below each other, each wrapped evenly to as many rows as it needs.

    Above each tile is room for its label, in tile sides.
    """
    tiles: list[Placed] = []
    headings: list[tuple[float, str]] = []
    y, widest = 0.0, 0
    for number, band in enumerate(bands):
        y += _HEADING + (0.14 if number else 0)
        headings.append((y, band.heading))
        n_rows = -(-len(band.tiles) // most_columns)
        n_columns = -(-len(band.tiles) // n_rows)
        widest = max(widest, n_columns)
        for place, index in enumerate(band.tiles):
            row, column = divmod(place, n_columns)
            tiles.append(Placed(index, column * STEP_X, y + row * (1 + room) + room))
        y += n_rows * (1 + room)
    return BandedSheet(tuple(tiles), tuple(headings), widest * STEP_X, y)


def banded_figure(sheet: BandedSheet) -> tuple[Figure, Axes]:
    """A figure for a sheet, with its headings and room for the colour scale below."""
    tile = min(_WIDEST / sheet.width, _LARGEST)
    width, height = 0.2 + tile * sheet.width, 0.1 + tile * sheet.height + FOOT
    figure = Figure(figsize=(max(width, _NARROWEST), height))
    axes = sheet_axes(figure, left=0.1, top=0.1, size=(sheet.width, sheet.height), tile=tile)
    for y, heading in sheet.headings:
        axes.text(0, y - 0.02, heading, ha="left", va="bottom", fontsize=10, weight="bold")
    return figure, axes


def sheet_axes(
    figure: Figure, *, left: float, top: float, size: tuple[float, float], tile: float
) -> Axes:
    """Axes without ticks in units of tile sides, row 0 at the top.

    Args:
        figure: Its size is in inches.
        left: Inches left of the tiles.
        top: Inches above them.
        size: Width and height in tile sides.
        tile: Side of a tile in inches.
    """
    width, height = figure.get_size_inches()
    below = height - top - size[1] * tile
    axes = figure.add_axes(
        (left / width, below / height, size[0] * tile / width, size[1] * tile / height)
    )
    axes.set_axis_off()
    axes.set_xlim(0, size[0])
    axes.set_ylim(size[1], 0)
    return axes


def draw_group(
    axes: Axes,
    placed: Placed,
    raster: npt.NDArray[Any] | None,
    scale: Normalize,
    *,
    size: float,
    without: str = "no\nimages",
    alpha: float = 1.0,
) -> None:
    """One map, row 0 at the bottom, as a tile of side 1 in its frame; or none, but words."""
    left, top = placed.left, placed.top
    if raster is None:
        axes.text(
            left + 0.5, top + 0.5, without, ha="center", va="center", fontsize=size, color=MUTED
        )
    else:
        axes.imshow(
            raster, cmap=COLOURS, norm=scale, origin="lower", aspect="auto",
            extent=(left, left + 1, top + 1, top), interpolation="bilinear", zorder=1, alpha=alpha,
        )  # fmt: skip
    axes.add_patch(
        Rectangle(
            (left, top), 1, 1, fill=False, linewidth=0.5, edgecolor="#aab0b9",
            linestyle=(0, (3, 2)) if raster is None else "-", zorder=4, clip_on=False,
        )
    )  # fmt: skip


def draw_label(axes: Axes, placed: Placed, label: str, *, size: float) -> None:
    """What a tile shows, above it."""
    if label:
        axes.text(
            placed.left + 0.5, placed.top - 0.035, label, ha="center", va="bottom", fontsize=size
        )


def mark_tile(axes: Axes, placed: Placed, *, key: str, text: str) -> None:
    """What a tile shows, in words, for whoever points at it."""
    left, top = placed.left, placed.top
    add_mark(axes, axes.transData, (left, top + 1, left + 1, top), key=key, text=text)


def wrapped(label: str, width: int) -> str:
    """At most two lines."""
    return "\n".join(textwrap.wrap(shortened(label, 2 * width), width)[:2])


def colour_bar(figure: Figure, scale: Normalize, label: str, *, exceeds: bool) -> None:
    """The scale of all tiles at the foot of a sheet."""
    width, height = figure.get_size_inches()
    length = min(3.6, 0.55 * width)
    place = ((width - length) / 2 / width, (FOOT - 0.3) / height, length / width, 0.12 / height)
    axes = figure.add_axes(place)
    bar = figure.colorbar(
        ScalarMappable(scale, COLOURS),
        cax=axes,
        orientation="horizontal",
        extend="both" if exceeds else "neither",
    )
    limit = float(scale.vmax or 0)
    bar.set_ticks([-limit, 0, limit], labels=[f"\N{MINUS SIGN}{limit:.2g}", "0", f"+{limit:.2g}"])
    axes.tick_params(length=3, pad=3)
    bar.outline.set_linewidth(0.5)
    axes.set_xlabel(label, fontsize=8.5)
    for x, side, text in ((-0.08, "right", "lower"), (1.08, "left", "higher")):
        axes.text(
            x, 0.5, text, transform=axes.transAxes, ha=side, va="center", fontsize=8.5, color=INK
        )

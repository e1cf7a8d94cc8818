"""Mean maps of attribution over a neutral outline of a face."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.map_sheet import (
    COLOURS,
    FOOT,
    Placed,
    draw_group,
    mark_tile,
    sheet_axes,
    wrapped,
)
from bias_audit.report.figures.style import INK, ON_MAP, PLAIN, Palette, shortened, styled
from bias_audit.shapes.attribution_maps import AttributionMaps, FaceArea, attribution_maps_of
from bias_audit.shapes.printed import count
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading

_STEP: Final = 1.05
_NAMES, _HEADINGS = 1.42, 0.42
"""Inches for the names of methods, and of groups."""
_WIDEST, _TALLEST, _LARGEST = 7.4, 5.8, 1.15
"""Inches of the figure, of all maps, and of the side of one."""
_SMALL: Final = 6.5


@styled
def attribution_maps(block: AttributionMaps, arrays: Arrays, _palette: Palette = PLAIN) -> Figure:
    """Draw a row for each method and a column for each group with maps, on one colour scale.

    Args:
        block: The maps of one target and attribute, of one group at least.
        arrays: Holds `block.maps`, row 0 at the top.

    Raises:
        ValueError: The array does not belong to the block.
    """
    maps = attribution_maps_of(block, arrays)
    groups = [group for group, reason in enumerate(block.reasons) if reason is None]
    n_methods, n_groups = maps.shape[0], len(groups)
    size = n_groups * _STEP, n_methods * _STEP
    tile = min((_WIDEST - _NAMES) / size[0], _TALLEST / size[1], _LARGEST)
    width = _NAMES + tile * size[0] + 0.1
    figure = Figure(figsize=(max(width, 4.6), _HEADINGS + tile * size[1] + FOOT))
    axes = sheet_axes(figure, left=_NAMES, top=_HEADINGS, size=size, tile=tile)
    scale = Normalize(-np.log2(block.limit), np.log2(block.limit))
    for row, method in enumerate(block.methods):
        flag = "\n(check not passed)" if method in block.flagged else ""
        axes.text(
            -0.06, (row + 0.45) * _STEP, f"{shortened(method, 24)}{flag}", ha="right",
            va="center", fontsize=_SMALL + 0.5, clip_on=False,
        )  # fmt: skip
        for column, group in enumerate(groups):
            placed = Placed(group, column * _STEP, row * _STEP)
            _tile(axes, block, placed, maps[row, group], scale)
            label, n = block.groups[group].label, count(block.counts[group])
            mark_tile(axes, placed, key=label, text=f"{method}, {label}: n = {n}")
    for column, group in enumerate(groups):
        name = wrapped(block.groups[group].label, max(8, int(14 * tile)))
        label = f"{name}\nn {count(block.counts[group])}"
        axes.text((column + 0.48) * _STEP, -0.06, label, ha="center", va="bottom", fontsize=_SMALL)
    _bar(figure, scale, block.limit)
    return figure


def _tile(
    axes: Axes, block: AttributionMaps, placed: Placed, values: npt.NDArray[Any], scale: Normalize
) -> None:
    raster = np.log2(np.clip(values[::-1], 1e-6, None))
    draw_group(axes, placed, raster, scale, size=_SMALL)
    for area in block.areas:
        _outline(axes, placed, area)


def _outline(axes: Axes, placed: Placed, area: FaceArea) -> None:
    left, top = placed.left + area.left, placed.top + area.top
    width, height = area.right - area.left, area.bottom - area.top
    look: dict[str, Any] = {
        "fill": False, "linewidth": 0.45, "edgecolor": ON_MAP, "alpha": 0.65, "zorder": 3,
    }  # fmt: skip
    if area.shape == "box":
        axes.add_patch(Rectangle((left, top), width, height, **look))
    else:
        axes.add_patch(Ellipse((left + width / 2, top + height / 2), width, height, **look))


def _bar(figure: Figure, scale: Normalize, limit: float) -> None:
    width, height = figure.get_size_inches()
    length = min(3.2, 0.5 * width)
    place = ((width - length) / 2 / width, (FOOT - 0.32) / height, length / width, 0.11 / height)
    axes = figure.add_axes(place)
    bar = figure.colorbar(
        ScalarMappable(scale, COLOURS), cax=axes, orientation="horizontal", extend="both"
    )
    end = float(np.log2(limit))
    names = [f"1/{limit:.2g}", "even", f"{limit:.2g} times"]
    bar.set_ticks([-end, 0, end], labels=names)
    bar.outline.set_linewidth(0.5)
    axes.tick_params(length=3, pad=3)
    axes.set_xlabel("absolute attribution relative to an even spread", fontsize=8, color=INK)


DRAWING = Drawing(
    attribution_maps,
    "png",
    arrays=lambda block: (block.maps,),
    keys=lambda block: group_heading(block.groups[1:] or block.groups),
)

"""Difference maps, with all but the regions that a test rejects drawn pale."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.map_sheet import (
    Band,
    Placed,
    banded,
    banded_figure,
    colour_bar,
    draw_group,
    draw_label,
    mark_tile,
    wrapped,
)
from bias_audit.report.figures.style import ON_MAP, PLAIN, Palette, shortened, styled
from bias_audit.shapes.difference_map import DifferenceMap, GroupDifference, difference_rasters_of
from bias_audit.shapes.printed import chance_of, count, counted, signed_interval
from bias_audit.shapes.shape import Arrays

_ROOM: Final = 0.31
_SMALL: Final = 7.6
_PALE: Final = 0.72
"""Of white, over everything outside the regions that differ significantly."""
_AXIS: Final = "difference of means, in standard deviations within groups"


@styled
def difference_map(
    block: DifferenceMap,
    arrays: Arrays,
    palette: Palette = PLAIN,  # noqa: ARG001
) -> Figure:
    """Draw every difference, one band per attribute and kind of comparison.

    Regions that differ significantly keep their colours and have an outline, solid where the first
    group is higher and dashed where it is lower, so that prints without colours show which is
    which.

    Args:
        block: The differences of one layer.
        arrays: Holds `block.rasters` and `block.masks`, shape (n_differences, side, side), row 0
            at the bottom.
        palette: Not used: colours stand for values.

    Raises:
        ValueError: An array does not belong to the block.
    """
    rasters, masks = difference_rasters_of(block, arrays)
    sheet = banded(_bands(block), most_columns=5, room=_ROOM)
    figure, axes = banded_figure(sheet)
    scale = Normalize(-block.limit, block.limit)
    for placed in sheet.tiles:
        entry = block.differences[placed.index]
        drawn = min(entry.counts) > 0
        raster = rasters[placed.index] if drawn else None
        draw_group(axes, placed, raster, scale, size=_SMALL, without="not\ndrawn")
        if drawn and entry.adjusted_p is not None:
            _pale(axes, placed, masks[placed.index])
        draw_label(axes, placed, _label(block, entry), size=_SMALL)
        mark_tile(axes, placed, key=entry.label, text=f"{entry.attribute}: {_told(entry)}")
    exceeds = bool(np.nanmax(np.abs(rasters), initial=0) > block.limit * (1 + 1e-6))
    colour_bar(figure, scale, _AXIS, exceeds=exceeds)
    return figure


def _bands(block: DifferenceMap) -> list[Band]:
    found: dict[str, list[int]] = {}
    for index, entry in enumerate(block.differences):
        what = "each level against all others" if entry.is_against_rest else "pairs of levels"
        found.setdefault(f"{shortened(entry.attribute, 40)}: {what}", []).append(index)
    return [Band(heading, tuple(places)) for heading, places in found.items()]


def _label(block: DifferenceMap, entry: GroupDifference) -> str:
    name = entry.one
    if entry.other is not None:
        name = f"{shortened(entry.one, 18)} \N{MINUS SIGN} {shortened(entry.other, 18)}"
    if min(entry.counts) == 0:
        return wrapped(name, 20)
    if entry.adjusted_p is None:
        said = "not tested"
    elif entry.n_regions:
        share = 100 * entry.n_units / block.n_units
        said = f"{share:.0f} % of units" if share >= 1 else "< 1 % of units"
        said += f", {chance_of(entry.adjusted_p)}"
    else:
        said = f"nothing found, {chance_of(entry.adjusted_p)}"
    return f"{wrapped(name, 20)}\n{said}"


def _told(entry: GroupDifference) -> str:
    """The numbers of a tile, in words."""
    one, other = (count(n) for n in entry.counts)
    said = [f"n = {one} and {other}"]
    if entry.reason:
        said.append(entry.reason)
    if entry.adjusted_p is not None:
        regions = counted(entry.n_regions, "region")
        said.append(f"{counted(entry.n_units, 'unit')} in {regions}, adjusted p for the map")
        said[-1] += f": {chance_of(entry.adjusted_p)}"
    effects = [region.effect for region in entry.regions if region.effect is not None]
    if effects:
        said.append(f"strongest region {signed_interval(effects[0])}")
    return "; ".join(said)


def _pale(axes: Axes, placed: Placed, mask: npt.NDArray[Any]) -> None:
    veil = np.zeros((*mask.shape, 4))
    veil[..., :3] = 1
    veil[..., 3] = np.where(mask == 0, _PALE, 0)
    extent = (placed.left, placed.left + 1, placed.top + 1, placed.top)
    axes.imshow(
        veil, origin="lower", aspect="auto", extent=extent, interpolation="nearest", zorder=2
    )
    side = mask.shape[0]
    x = placed.left + (np.arange(side) + 0.5) / side
    y = placed.top + 1 - (np.arange(side) + 0.5) / side
    for sign, dashes in ((1, "solid"), (-1, "dashed")):
        inside = (mask == sign).astype(float)
        if inside.any() and not inside.all():
            axes.contour(
                x, y, inside, levels=[0.5], colors=[ON_MAP], linewidths=0.7, linestyles=[dashes],
                zorder=3,
            )  # fmt: skip


DRAWING = Drawing(
    difference_map,
    "png",
    arrays=lambda block: (block.rasters, block.masks),
    keys=lambda _: "comparison",
)

"""Units of a layer placed in a plane, with one map of their values per group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bias_audit.groups import Group
from bias_audit.shapes.printed import count, counted, interval_note, percent_interval
from bias_audit.shapes.shape import (
    Arrays,
    Block,
    Frozen,
    Row,
    Rows,
    Shape,
    check_array,
    level_names,
    some_of,
)
from bias_audit.shapes.tables import BlockText
from bias_audit.statistics.estimate import Estimate


class AttributeShare(Frozen):
    """How much of the differences between maps goes with one attribute."""

    attribute: str
    share: Estimate
    """Of the variance of the profiles of intersections, explained by the attribute's main
    effect."""


class EarlierMap(Frozen):
    """How a layout lies beside that of the same layer in an earlier audit."""

    run: str
    """Name of the earlier audit."""
    folder: str
    """Name of its run folder."""
    started: str
    """ISO 8601, UTC."""
    backbone: str
    weights_sha256: str
    has_same_weights: bool
    layout: str
    """How units were placed there."""
    limit: float
    """End of its colour scale."""
    own_limit: float | None = None
    """What the end of this audit's colour scale would be without the earlier one."""
    disparity: float
    """Procrustes disparity of the two layouts: 0 for one shape, 1 for unrelated ones."""
    by_chance: tuple[float, float]
    """Central 95 % of the disparity with units shuffled."""
    p_value: float
    """Of a disparity as small with units shuffled."""
    alpha: float
    """The largest p-value of a match."""
    draws: int
    is_match: bool
    """Whether units match better than by chance."""
    places: Literal["turned", "taken", "own"]
    """Of the maps: this audit's layout turned like the earlier one, the earlier places
    themselves, or this audit's layout as it came, since it does not match."""
    shift: float
    """Median distance of a unit from its earlier place, in sides of the map, once turned."""
    shift_by_chance: float
    """The same with units shuffled."""


class UnitMap(Block):
    """Group profiles drawn over one layout of a layer's units."""

    block: Literal["unit_map"] = "unit_map"
    title: str
    layer: str
    layout: str
    """How units were placed, such as "UMAP (cosine), refined by particle swarm"."""
    n_units: int
    n_silent: int
    """Units whose signature is zero for every group: they carry no information for the layout."""
    groups: tuple[Group, ...]
    counts: tuple[int, ...]
    """Images per group, in the order of `groups`; 0 for an empty one, which has no map."""
    minimum: int = 0
    """Groups of fewer images are drawn pale."""
    limit: float
    """Colours run from -limit to +limit for every group of the layer."""
    positions: str
    """Array key: (n_units, 2) in [0, 1], float."""
    values: str
    """Array key: (n_groups, n_units), contrasted spatial-mean profiles, float."""
    rasters: str
    """Array key: (n_groups, 100, 100), interpolated values, row 0 at the bottom, float."""
    chance: str | None = None
    """Array key: (100, 100), the map of images drawn at random; None where none was drawn."""
    chance_images: int = 0
    """How many these are."""
    shares: tuple[AttributeShare, ...] = ()
    """One per attribute, where the groups are the levels of every attribute."""
    earlier: EarlierMap | None = None
    """Beside which the layout was laid, where the groups are the levels of every attribute."""

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Images of every group, and those drawn at random."""
        return (*self.counts, *([self.chance_images] if self.chance else []))


def _rows(block: UnitMap) -> Iterator[Row]:
    """How much of the differences between maps goes with each attribute."""
    for entry in block.shares:
        yield {
            "layer": block.layer,
            "layout": block.layout,
            "attribute": entry.attribute,
            "estimate": entry.share,
        }


def rasters_of(block: UnitMap, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The maps to draw, shape (n_groups, side, side).

    Raises:
        ValueError: The array has another shape or type, or no map of a group that has images.
    """
    rasters = arrays[block.rasters]
    side = rasters.shape[-1] if rasters.ndim else 0
    check_array(
        rasters, (len(block.groups), max(side, 1), max(side, 1)), block.title, block.rasters
    )
    broken = [
        group.label
        for group, n, raster in zip(block.groups, block.counts, rasters, strict=True)
        if n > 0 and not np.isfinite(raster).all()
    ]
    if broken:
        raise ValueError(
            f'{block.title}: array "{block.rasters}": expected numbers for every group that has '
            f"images, got NaN or infinity for {some_of(broken)}"
        )
    return rasters


def by_unit(positions: npt.NDArray[Any], series: list[tuple[list[str], npt.NDArray[Any]]]) -> Rows:
    """One row per unit: its place, and its value in every series.

    Args:
        positions: Shape (n_units, 2).
        series: Names, with values of shape (n_names, n_units).

    Raises:
        ValueError: The shapes do not fit.
    """
    for names, values in series:
        if values.shape != (len(names), len(positions)):
            raise ValueError(
                f"expected values of shape {(len(names), len(positions))}, got {values.shape}"
            )
    rows: Rows = [("unit", "x", "y", *(name for names, _ in series for name in names))]
    for unit, place in enumerate(positions.tolist()):
        numbers = (float(x) for _, values in series for x in values[:, unit])
        rows.append((unit, *place, *numbers))
    return rows


def _figure_rows(block: UnitMap, arrays: Arrays) -> Rows:
    names = [level_names(group) for group in block.groups]
    return by_unit(arrays[block.positions], [(names, arrays[block.values])])


def _text(block: UnitMap) -> BlockText:
    """Say what is drawn, and what is left blank.

    Raises:
        ValueError: There is not one number of images per group.
    """
    if len(block.groups) != len(block.counts):
        raise ValueError(
            f"{block.title}: expected a number of images for each of {len(block.groups)} groups, "
            f"got {len(block.counts)}"
        )
    empty = [g.label for g, n in zip(block.groups, block.counts, strict=True) if n == 0]
    shown = [n for n in block.counts if n > 0]
    notes = [
        f"{counted(block.n_units, 'unit')} of {block.layer}, placed by {block.layout}; the same "
        "layout for every group."
    ]
    if block.n_silent:
        notes.append(
            f"{counted(block.n_silent, 'unit')} never differ between groups, so their places mean "
            "nothing."
        )
    if empty:
        notes.append(f"Blank, no images: {'; '.join(empty)}.")
    if block.earlier:
        notes.append(_beside(block, block.earlier))
    if block.shares:
        notes += [
            "Percentages: share of the variance of the profiles of intersections that the "
            "attribute explains beyond the others (its main effect), sampling noise subtracted.",
            *interval_note(entry.share for entry in block.shares),
        ]
    return BlockText(
        alt=_alt(block, shown, len(empty)) if shown else None,
        caption=f"One map per group at {block.layer}, all on one colour scale; "
        "an arrow at the end of the scale says that values beyond it take its last colour."
        f"{_edges(block)}",
        notes=tuple(notes),
    )


def _edges(block: UnitMap) -> str:
    """What a sheet of groups by several attributes shows beside them."""
    if len(block.groups[0].levels) == 1:
        return ""
    chance = f" Chance: {counted(block.chance_images, 'image')} drawn at random from all."
    means = " At the edges: means of the maps beside them, each group counting the same."
    return f"{means}{chance if block.chance else ''}"


def _alt(block: UnitMap, shown: list[int], n_empty: int) -> str:
    blank = f"; {counted(n_empty, 'group')} without images left blank" if n_empty else ""
    listed = "; ".join(
        f"{entry.attribute} {percent_interval(entry.share)}"
        for entry in sorted(block.shares, key=lambda entry: -entry.share.value)
    )
    shares = f" Share of the differences that each attribute explains: {listed}." if listed else ""
    return (
        f"Topographic maps of {counted(len(shown), 'group')} at {block.layer}, "
        f"{count(min(shown))} to {count(max(shown))} images each{blank}. "
        f"{counted(block.n_units, 'unit')}, colours from minus {block.limit:.2g} (blue, lower "
        f"than the average over groups) to plus {block.limit:.2g} (red, higher).{shares}"
    )


def _beside(block: UnitMap, earlier: EarlierMap) -> str:
    """How these maps can be compared with those of an earlier report."""
    weights = "the same weights" if earlier.has_same_weights else "other weights"
    chance = f"{earlier.by_chance[0]:.2g} to {earlier.by_chance[1]:.2g} with units shuffled"
    fit = f"Procrustes disparity {earlier.disparity:.2g}; 0 is one shape, {chance}"
    near = f"half of the units lie within {100 * earlier.shift:.0f} % of a map's side of their"
    shuffled = f"{100 * earlier.shift_by_chance:.0f} % with units shuffled"
    if earlier.places == "taken":
        said = (
            "every unit is drawn where it is drawn there, so that both reports can be compared "
            f"place by place. Placed by this audit alone and turned, {near} earlier place "
            f"({shuffled}; {fit})."
        )
    elif earlier.is_match:
        said = (
            "the layout was turned like the one there, so that both reports can be compared side "
            f"by side: {near} earlier place ({shuffled}; {fit})."
        )
    else:
        said = (
            "the layouts do not match, and this one was not turned: the same place in both "
            f"reports does not mean the same units ({fit})."
        )
    own = (
        ""
        if earlier.own_limit is None
        else f"; without it the scale would end at {earlier.own_limit:.2g}"
    )
    colours = (
        f"The colour scale is that of the earlier maps, up to {block.limit:.2g}{own}."
        if block.limit == earlier.limit
        else "The colour scale is not that of the earlier maps: it ends at "
        f"{block.limit:.2g} here and at {earlier.limit:.2g} there."
    )
    return (
        f"Beside the earlier audit {earlier.run} ({earlier.started[:10]}, {earlier.backbone}, "
        f"{weights}): {said} {colours}"
    )


SHAPE = Shape(
    UnitMap,
    place=60,
    table="attribute_shares",
    about="the share of the differences between maps that goes with one attribute",
    columns=("layer", "layout", "attribute", "estimate"),
    rows=_rows,
    text=_text,
    most_printed=2,
    heading="How to read this map",
    reading=(
        "Each tile shows the same units of the layer at the same places; only the group of faces "
        "changes. Units were placed so that those that respond alike to the groups lie close "
        "together, as far as a plane allows. Left, right, top and bottom mean nothing.",
        "Red: these units respond more strongly to this group than to the average group. Blue: "
        "less strongly. White: about the same, or no unit there. Two tiles that look alike show "
        "groups that this layer responds to alike. n is the number of images; a tile from few "
        "images is unsteady. The maps are a picture, not a test: only numbers with intervals "
        "support a claim.",
    ),
    in_short=(
        "Each tile shows the same units of the layer at the same places; only the group of faces "
        "changes. Units that respond alike to the groups lie close together, as far as a plane "
        "allows; left, right, top and bottom mean nothing. Red: these units respond more strongly "
        "to this group than to the average group; blue: less strongly. The maps are a picture, "
        "not a test."
    ),
    arrays=lambda block: (block.positions, block.values),
    figure_rows=_figure_rows,
)

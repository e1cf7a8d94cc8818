"""Differences of two groups, drawn over the layout of a layer, with a test of where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from bias_audit.shapes.printed import (
    MISSING,
    chance_of,
    count,
    counted,
    interval_note,
    signed_interval,
)
from bias_audit.shapes.shape import Arrays, Block, Frozen, Row, Rows, Shape, check_array, some_of
from bias_audit.shapes.tables import BlockText, Shown, estimates_of, table
from bias_audit.shapes.unit_map import by_unit
from bias_audit.statistics.estimate import Estimate


class MapRegion(Frozen):
    """Neighbouring units at which two groups differ in one direction."""

    n_units: int
    units: tuple[int, ...]
    """The strongest, by index."""
    is_higher: bool
    """Whether the first group's mean is the higher one."""
    effect: Estimate | None
    """Standardised mean difference; `DifferenceMap.effect` says over which images and units."""
    p_value: float
    adjusted_p: float
    """Over the regions of the map and the maps of the layer."""


class GroupDifference(Frozen):
    """One group against another at every unit of a layer."""

    attribute: str
    one: str
    """A level."""
    other: str | None
    """A level; None: all others."""
    counts: tuple[int, int]
    """Images of each group; 0 where the map could not be drawn."""
    tested: tuple[int, int]
    """Images of each group that the test used."""
    n_fixed: int = 0
    """Of the images tested, those whose label no permutation can change."""
    adjusted_p: float | None = None
    """Of no difference anywhere on the map, over the maps of the layer; None: not tested."""
    n_units: int = 0
    """Units in regions that differ significantly."""
    n_regions: int = 0
    """Regions that differ significantly."""
    regions: tuple[MapRegion, ...] = ()
    """The strongest, smallest p first, including those that do not differ significantly."""
    reason: str | None = None
    """Why it was not drawn or not tested."""

    @property
    def is_against_rest(self) -> bool:
        """Whether the second group is all other levels of the attribute."""
        return self.other is None

    @property
    def label(self) -> str:
        """Such as "70+ against all others"."""
        return f"{self.one} against {self.other or 'all others'}"


class DifferenceMap(Block):
    """Differences of two groups, drawn over the layout of a layer, with a test of where."""

    block: Literal["difference_map"] = "difference_map"
    title: str
    layer: str
    layout: str
    n_units: int
    limit: float
    """Colours run from -limit to +limit standard deviations within groups, for every map."""
    test: str
    """How regions were found and tested, in a sentence; empty where they were not."""
    effect: str
    """What the effects of regions are, in a sentence."""
    alpha: float
    draws: int | None
    """Permutations; None where nothing was tested."""
    smallest_p: float | None
    """The smallest adjusted p-value that a single map can attain with so many permutations."""
    differences: tuple[GroupDifference, ...]
    positions: str
    """Array key: (n_units, 2) in [0, 1], float."""
    values: str
    """Array key: (n_differences, n_units), standardised mean differences, float."""
    p_values: str
    """Array key: (n_differences, n_units), adjusted p of the unit's region, 1 outside regions;
    NaN only on disk, for maps that were not tested."""
    rasters: str
    """Array key: (n_differences, 100, 100), interpolated values, row 0 at the bottom, float."""
    masks: str
    """Array key: (n_differences, 100, 100), the direction of the nearest unit's region, +1 or -1,
    where that region differs significantly, else 0, float."""

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Images of both groups of every comparison."""
        return tuple(n for each in self.differences for n in each.counts)


def _rows(block: DifferenceMap) -> Iterator[Row]:
    """Every comparison with its strongest regions; one row without a region where none is."""
    for entry in block.differences:
        start = {
            "layer": block.layer,
            "attribute": entry.attribute,
            "one": entry.one,
            "other": entry.other,
            "images_one": entry.counts[0],
            "images_other": entry.counts[1],
            "tested_one": entry.tested[0],
            "tested_other": entry.tested[1],
            "reason": entry.reason,
        }
        for place, region in enumerate(entry.regions, start=1):
            rest = ", ..." if region.n_units > len(region.units) else ""
            yield start | {
                "region": place,
                "units": region.n_units,
                "direction": "higher" if region.is_higher else "lower",
                "strongest_units": ", ".join(map(str, region.units)) + rest,
                "p": region.p_value,
                "adjusted_p": region.adjusted_p,
                "estimate": region.effect,
            }
        if not entry.regions:
            yield start | {"adjusted_p": entry.adjusted_p}


def difference_rasters_of(
    block: DifferenceMap, arrays: Arrays
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]:
    """The maps to draw and their masks, both of shape (n_differences, side, side).

    Raises:
        ValueError: An array has another shape or type, or no map of a comparison that has images.
    """
    rasters, masks = arrays[block.rasters], arrays[block.masks]
    side = max(rasters.shape[-1] if rasters.ndim else 0, 1)
    shape = len(block.differences), side, side
    check_array(rasters, shape, block.title, block.rasters)
    check_array(masks, shape, block.title, block.masks)
    broken = [
        entry.label
        for entry, raster in zip(block.differences, rasters, strict=True)
        if min(entry.counts) > 0 and not np.isfinite(raster).all()
    ]
    if broken or not np.isin(masks, (-1, 0, 1)).all():
        raise ValueError(
            f'{block.title}: arrays "{block.rasters}" and "{block.masks}": expected numbers for '
            "every comparison that has images, and masks of -1, 0 and 1; got others for "
            f"{some_of(broken) or 'masks'}"
        )
    return rasters, masks


def _figure_rows(block: DifferenceMap, arrays: Arrays) -> Rows:
    """One row per unit: its place, and for each comparison the difference and its region's p."""
    names = [f"{entry.attribute}: {entry.label}" for entry in block.differences]
    return by_unit(
        arrays[block.positions],
        [
            ([f"{name}, difference" for name in names], arrays[block.values]),
            ([f"{name}, adjusted p of region" for name in names], arrays[block.p_values]),
        ],
    )


def _text(block: DifferenceMap) -> BlockText:
    """Say where groups differ, and list the strongest regions of every map."""
    rows = [*_rows(block)]
    drawn = [entry for entry in block.differences if min(entry.counts) > 0]
    rejected = {(d.attribute, d.one, d.other) for d in block.differences if d.n_regions}
    strongest = [
        row
        for row in rows
        if row.get("region") == 1 and (row["attribute"], row["one"], row["other"]) in rejected
    ]
    effects = estimates_of(rows)
    return BlockText(
        alt=_alt(block, drawn) if drawn else None,
        caption=(
            f"Differences of two groups at {block.layer}, on the layout and at the places of the "
            "maps above, all on one colour scale. Red: the group named (first) is higher. "
            "Outlined: regions that differ significantly, solid where higher, dashed where "
            "lower. Pale: no significant difference."
        ),
        notes=(
            "The other attributes are held constant: only images that are alike in them are "
            "compared, so a difference between groups of one attribute does not come from their "
            "composition by the others.",
            *((block.test,) if block.test else ()),
            *_warnings(block),
            *((f"Effects of regions: {block.effect}",) if effects else ()),
            *interval_note(effects),
        ),
        tables=(
            table(
                f"Strongest regions of each difference map at {block.layer}",
                rows,
                (
                    Shown("groups", _compared, numeric=False),
                    Shown(
                        "images",
                        lambda r: f"{count(r['images_one'])} / {count(r['images_other'])}",
                    ),
                    Shown("units", _n_units),
                    Shown("strongest units", _units, numeric=False),
                    Shown("difference", _difference),
                    Shown("adjusted p", lambda row: chance_of(row["adjusted_p"])),
                ),
                excerpt=strongest[:12],
                note="The strongest region of the first maps with a significant one.",
            ),
        ),
    )


def _compared(row: Row) -> str:
    return f"{row['attribute']}: {row['one']} against {row['other'] or 'all others'}"


def _n_units(row: Row) -> str:
    return count(row["units"]) if "region" in row else "0" * (row["adjusted_p"] is not None)


def _units(row: Row) -> str:
    return row["strongest_units"] if "region" in row else "none" * (row["adjusted_p"] is not None)


def _difference(row: Row) -> str:
    if "region" in row:
        return signed_interval(row["estimate"])
    return MISSING if row["adjusted_p"] is None else "no region"


def _alt(block: DifferenceMap, drawn: list[GroupDifference]) -> str:
    tested = [entry for entry in drawn if entry.adjusted_p is not None]
    found = sorted((e for e in tested if e.n_regions), key=lambda e: -e.n_units)
    said = "; ".join(
        f"{entry.label}: {count(entry.n_units)} units in {counted(entry.n_regions, 'region')}"
        for entry in found[:3]
    )
    widest = f" Most units: {said}." if said else ""
    return (
        f"{counted(len(drawn), 'difference map')} at {block.layer}, colours from minus to plus "
        f"{block.limit:.2g} standard deviations within groups. Of {count(len(tested))} tested, "
        f"{count(len(found))} show regions that differ significantly.{widest}"
    )


def _warnings(block: DifferenceMap) -> Iterator[str]:
    """What keeps the test from finding more: few draws, labels that cannot change, few images."""
    if block.smallest_p is not None and block.smallest_p > block.alpha:
        yield (
            f"{count(block.draws or 0)} permutations are too few for any map to differ "
            f"significantly: the smallest adjusted p-value is {block.smallest_p:.3g}, above "
            f"{block.alpha:.3g}."
        )
    fixed = sorted(
        (entry for entry in block.differences if entry.n_fixed),
        key=lambda entry: -entry.n_fixed / sum(entry.tested),
    )
    if fixed:
        listed = "; ".join(
            f"{entry.label} {count(entry.n_fixed)} of {count(sum(entry.tested))}"
            for entry in fixed[:3]
        )
        yield f"Largest numbers of images whose label no permutation can change: {listed}."
    reasons = [f"{entry.label}: {entry.reason}" for entry in block.differences if entry.reason]
    if reasons:
        rest = f"; and {len(reasons) - 5} more" if len(reasons) > 5 else ""  # noqa: PLR2004
        yield f"{'; '.join(reasons[:5])}{rest}."


_COLUMNS: Final = (
    "layer", "attribute", "one", "other", "images_one", "images_other", "tested_one",
    "tested_other", "region", "units", "direction", "strongest_units", "p", "adjusted_p",
    "estimate", "reason",
)  # fmt: skip
SHAPE = Shape(
    DifferenceMap,
    place=70,
    table="map_regions",
    about="a region of a difference map, its effect in standard deviations; or a map without one",
    columns=_COLUMNS,
    rows=_rows,
    text=_text,
    most_printed=2,
    heading="How to read a difference map",
    reading=(
        "Each tile compares two groups of faces that are alike in every other attribute. Red: the "
        "units there respond more strongly to the group named (first); blue: less strongly. The "
        "places are those of the maps above.",
        "Strong colour inside an outline: a region where a difference this large and this wide "
        "would rarely arise if labels were shuffled at random. Pale: no significant difference. "
        "A pale map does not show that the groups are alike, and an outline does not say that "
        "every unit within it differs.",
    ),
    in_short=(
        "Each tile compares two groups of faces that are alike in every other attribute, at the "
        "places of the maps above. Strong colour inside an outline: a region where a difference "
        "this large and this wide would rarely arise if labels were shuffled at random. Pale: no "
        "significant difference, which does not show that the groups are alike."
    ),
    arrays=lambda block: (block.positions, block.values, block.p_values),
    figure_rows=_figure_rows,
)

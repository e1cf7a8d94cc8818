"""Where a decision's attribution lies on the input, as means over groups of aligned faces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bias_audit.groups import Group
from bias_audit.shapes.printed import count, counted
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


class FaceArea(Frozen):
    """An ellipse or a box of a face template, in shares of the input's sides."""

    region: str
    shape: Literal["ellipse", "box"]
    left: float
    top: float
    """From the input's upper edge."""
    right: float
    bottom: float


class AttributionMaps(Block):
    """Where a decision's attribution lies on the input, as means over groups of aligned faces."""

    block: Literal["attribution_maps"] = "attribution_maps"
    title: str
    layer: str
    target: str
    decision: str
    """What is attributed, in words."""
    methods: tuple[str, ...]
    flagged: tuple[str, ...] = ()
    """Of the methods, those that did not pass the sanity check."""
    groups: tuple[Group, ...]
    """All images first, then the levels of one attribute."""
    counts: tuple[int, ...]
    """Independent images of each group."""
    reasons: tuple[str | None, ...]
    """Why a group has no map; None where it has."""
    limit: float
    """Colours run over this factor, less and more than an even spread."""
    areas: tuple[FaceArea, ...]
    """Of the face template, which are drawn as an outline."""
    maps: str
    """Array key: (n_methods, n_groups, side, side), mean absolute attribution relative to an even
    spread, row 0 at the top; NaN only on disk, for groups without a map."""

    @property
    def map_sizes(self) -> tuple[int, ...]:
        """Images of every group that has a map."""
        shown = zip(self.counts, self.reasons, strict=True)
        return tuple(n for n, reason in shown if reason is None)


def attribution_maps_of(block: AttributionMaps, arrays: Arrays) -> npt.NDArray[np.floating[Any]]:
    """The maps to draw, shape (n_methods, n_groups, side, side).

    Raises:
        ValueError: The array has another shape or type, no map of a group that has one, or
            negative values.
    """
    maps = arrays[block.maps]
    side = max(maps.shape[-1] if maps.ndim else 0, 1)
    shape = len(block.methods), len(block.groups), side, side
    check_array(maps, shape, block.title, block.maps)
    broken = [
        group.label
        for column, (group, reason) in enumerate(zip(block.groups, block.reasons, strict=True))
        if reason is None and not (np.isfinite(maps[:, column]) & (maps[:, column] >= 0)).all()
    ]
    if broken:
        raise ValueError(
            f'{block.title}: array "{block.maps}": expected numbers of at least 0 for every group '
            f"with a map, got others for {some_of(broken)}"
        )
    return maps


def _rows(block: AttributionMaps) -> Iterator[Row]:
    """Every method and group, with the images behind its map or why there is none."""
    for method in block.methods:
        for group, n, reason in zip(block.groups, block.counts, block.reasons, strict=True):
            yield {
                "target": block.target,
                "layer": block.layer,
                "entry": method,
                "sanity_check": "not passed" if method in block.flagged else "passed",
                "group": group,
                "images": n,
                "reason": reason,
            }


def _figure_rows(block: AttributionMaps, arrays: Arrays) -> Rows:
    """One row per cell of the input: its place, and its value for each method and group."""
    maps = attribution_maps_of(block, arrays)
    series = [
        (f"{method}, {level_names(group)}", maps[row, column])
        for row, method in enumerate(block.methods)
        for column, group in enumerate(block.groups)
        if block.reasons[column] is None
    ]
    side = range(maps.shape[-1])
    return [
        ("row", "column", *(name for name, _ in series)),
        *((y, x, *(float(values[y, x]) for _, values in series)) for y in side for x in side),
    ]


def _text(block: AttributionMaps) -> BlockText:
    """Say whose attribution is drawn, on how many images, and what is left out."""
    groups = list(zip(block.groups, block.counts, block.reasons, strict=True))
    drawn = [f"{group.label} (n = {count(n)})" for group, n, reason in groups if reason is None]
    left_out = [f"{group.label} ({reason})" for group, _, reason in groups if reason]
    rest = f" and {len(drawn) - 12} more" if len(drawn) > 12 else ""  # noqa: PLR2004
    notes = [f"Attributed: {block.decision}."]
    if block.flagged:
        notes.append(
            "Read with care, because these methods did not pass the sanity check: "
            f"{', '.join(block.flagged)}. Such maps may show the image rather than the decision."
        )
    if left_out:
        notes.append(f"Without a map: {'; '.join(left_out)}.")
    return BlockText(
        alt=(
            f"Grid of mean attribution maps of the decision about {block.target} at "
            f"{block.layer}: {counted(len(block.methods), 'method')} by "
            f"{counted(len(drawn), 'group')}: {', '.join(drawn[:12])}{rest}. Colours from a "
            f"{block.limit:.2g}th to {block.limit:.2g} times an even spread; shares by region, "
            "with intervals, are in the tables of this section."
        )
        if drawn
        else None,
        caption=(
            f"Mean absolute attribution at {block.layer} on the aligned input, by method (rows) "
            "and group (columns), relative to an even spread, over a neutral outline of the face "
            "template. Red: more than an even spread, blue: less. Mean over the images of a "
            "group, never one face."
        ),
        notes=tuple(notes),
    )


SHAPE = Shape(
    AttributionMaps,
    place=120,
    table="attribution_maps",
    about="a map of one method and group; its cells are in figures/",
    columns=("target", "layer", "entry", "sanity_check", "group", "images", "reason"),
    rows=_rows,
    text=_text,
    heading="How to read an attribution map",
    reading=(
        "Each tile is a mean over many aligned faces: red places count more for the decision "
        "than they would if everything counted the same, blue places less. The thin lines are a "
        "fixed drawing of where eyes, nose, mouth, forehead, hair and cheeks of an aligned face "
        "lie; they show no person.",
        "A map says where the score depends on the image by one method's definition. It does not "
        "say why, nor that the part is used wrongly. Much red outside the face can mean that the "
        "decision rests on background, hair or clothes. Maps of a method that did not pass its "
        "check may show edges of the image whatever the backbone has learned: read the checks "
        "below first.",
    ),
    arrays=lambda block: (block.maps,),
    figure_rows=_figure_rows,
)

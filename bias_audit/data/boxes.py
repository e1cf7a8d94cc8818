"""Boxes of faces in larger images, as label files write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal

from bias_audit.data.faces import Exclusion
from bias_audit.data.rows import PLACE, Row

BOX: Final = "\0box"
"""Where a row carries the box to cut out, as `box_of` reads it; no column has this name."""
_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{1,12})?")
_NAMED = re.compile(r"[\"'](\w+)[\"']\s*:\s*(-?\d[\d.]*)")
Form = Literal["xywh", "xyxy"]
_STARTS = (("x", "left", "x1", "xmin"), ("y", "top", "y1", "ymin"))
_NAMES: Mapping[Form, Sequence[Sequence[str]]] = {
    "xywh": (*_STARTS, ("width", "w"), ("height", "h")),
    "xyxy": (*_STARTS, ("right", "x2", "xmax"), ("bottom", "y2", "ymax")),
}
"""How a mapping may name the sides."""
_WORDS = {"xywh": "left, top, width and height", "xyxy": "left, top, right and bottom"}


def names_an_end(column: str) -> bool:
    """Whether a column is named as that of the right or lower end of a box."""
    plain = re.sub(r"[^a-z0-9]", "", column.lower())
    return plain.endswith((*_NAMES["xyxy"][2], *_NAMES["xyxy"][3]))


def with_box(
    row: Row, sides: Sequence[str], margin: float, form: Form = "xywh"
) -> Row | Exclusion:
    """The row with the box to cut out, or why there is none.

    Sides are in pixels of the upright image; the margin is added on each side, in widths and
    heights.
    """
    texts = [side.strip() for side in sides]
    numbers = [float(text) for text in texts if _NUMBER.fullmatch(text)]
    left, top, width, height = numbers if len(numbers) == len(texts) == 4 else [0.0] * 4  # noqa: PLR2004
    if form == "xyxy":
        width, height = width - left, height - top
    if min(width, height) <= 0 or max(width, height) <= 1:
        got = ", ".join(map("{:g}".format, numbers)) or "no number"
        detail = f"expected {_WORDS[form]} of a box, in pixels; got {got}"
        return Exclusion(row[PLACE], "unusable box", detail, row=row)
    found = (
        math.floor(left - margin * width),
        math.floor(top - margin * height),
        math.ceil(left + (1 + margin) * width),
        math.ceil(top + (1 + margin) * height),
    )
    return row | {BOX: " ".join(map(str, found))}


def box_of(row: Row) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of what is cut out; None where a row says none."""
    if BOX not in row:
        return None
    left, top, right, bottom = map(int, row[BOX].split())
    return left, top, right, bottom


def listed_sides(text: str, form: Form = "xywh") -> list[str]:
    """The four numbers of a list, or of a mapping that names them."""
    named = {name.lower(): number for name, number in _NAMED.findall(text)}
    if not named:
        return [part for part in re.split(r"[\s,;\[\]()]+", text) if part]
    return [next((named[n] for n in names if n in named), "") for names in _NAMES[form]]

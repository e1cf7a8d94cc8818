"""Boxes of faces in larger images, as label files write them."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Sequence
from typing import Final

from bias_audit.data.faces import Exclusion
from bias_audit.data.rows import PLACE, Row

BOX: Final = "\0box"
"""Where a row carries the box to cut out, as `box_of` reads it; no column has this name."""
_NUMBER = re.compile(r"-?\d{1,7}(?:\.\d{1,12})?")


def with_box(row: Row, sides: Sequence[str], margin: float) -> Row | Exclusion:
    """The row with the box to cut out, or why there is none.

    Sides are left, top, width and height in pixels of the upright image; the margin is added on
    each side, in widths and heights.
    """
    texts = [side.strip() for side in sides]
    numbers = [float(text) for text in texts if _NUMBER.fullmatch(text)]
    if len(numbers) != 4 or len(texts) != 4 or min(numbers[2:]) <= 0:  # noqa: PLR2004
        detail = "expected left, top, width and height of a box, in pixels"
        return Exclusion(row[PLACE], "unusable box", detail)
    left, top, width, height = numbers
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


def listed_sides(text: str) -> list[str]:
    """Left, top, width and height of a list, or of a mapping with x, y, width and height."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if isinstance(found, dict):
        found = [found.get(name) for name in ("x", "y", "width", "height")]
    return [str(each) for each in found] if isinstance(found, list | tuple) else []

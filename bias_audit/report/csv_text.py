"""Rows of numbers as CSV, for files and inside a page."""

from __future__ import annotations

import base64
import csv
import io
import math
import zlib
from collections.abc import Iterable
from typing import Final

from bias_audit.shapes.shape import Cell, Rows

_DIGITS: Final = 7
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(rows: Iterable[tuple[Cell, ...]], *, digits: int | None = _DIGITS) -> str:
    """Rows as CSV; no text is a formula to a spreadsheet, and what is missing is empty.

    Args:
        rows: The first one names the columns.
        digits: Significant ones of a number that is not whole; None: all that it has.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_cell(cell, digits) for cell in row] for row in rows)
    return stream.getvalue()


def packed(rows: Rows) -> str:
    """Rows as CSV, deflated (zlib, RFC 1950), in base64."""
    return base64.b64encode(zlib.compress(csv_text(rows).encode(), 9)).decode()


def _cell(cell: Cell, digits: int | None) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, str):
        return f"'{cell}" if cell.startswith(_FORMULA) else cell
    if isinstance(cell, float) and digits is not None:
        return f"{cell:.{digits}g}"
    return str(cell)

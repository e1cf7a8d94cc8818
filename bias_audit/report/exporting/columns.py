"""Tables of typed columns, as CSV and parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from bias_audit.report import figure_data
from bias_audit.report.csv_text import csv_text
from bias_audit.report.figure_data import Cell

Kind = Literal["text", "whole", "number"]
_ARROW: Final = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64()}

_OF_ESTIMATE: Final[tuple[Kind, ...]] = (
    "number",
    "number",
    "number",
    "number",
    "whole",
    "number",
    "number",
    "text",
)
ESTIMATE: Final = dict(zip(figure_data.ESTIMATE, _OF_ESTIMATE, strict=True))
"""Columns of `figure_data.estimate_cells`."""


@dataclass(frozen=True)
class DataTable:
    """Rows of one kind, from every backbone; written even where there are none."""

    name: str
    """Of its files, without the ending; the same in every release of one schema."""
    about: str
    """One row is what, in a sentence."""
    columns: dict[str, Kind]
    rows: Sequence[tuple[Cell, ...]]


def as_csv(table: DataTable) -> bytes:
    """UTF-8, the columns' names first, numbers in full; no text is a formula to a spreadsheet."""
    return csv_text([tuple(table.columns), *table.rows], digits=None).encode()


def as_parquet(table: DataTable) -> bytes:
    """Typed columns; what is missing is null. The same table gives the same bytes.

    Raises:
        ValueError: A cell is not of its column's kind.
    """
    schema = pa.schema([(name, _ARROW[kind]) for name, kind in table.columns.items()])
    cells = zip(*table.rows, strict=True) if table.rows else [()] * len(table.columns)
    arrays = [
        pa.array(values, type=field.type) for values, field in zip(cells, schema, strict=True)
    ]
    stream = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=schema), stream)
    return stream.getvalue()

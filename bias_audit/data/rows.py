"""Rows of a label file, every value as text; nothing is guessed or converted."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bias_audit.data.faces import Exclusion
from bias_audit.errors import DataError

Row = dict[str, str]
WHOLE_NUMBER = re.compile(r"(-?[0-9]+)\.0+")
"""What software makes of a whole number where a column has gaps; group 1 is the number."""
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


def read_rows(file: Path, columns: Sequence[str]) -> list[Row | Exclusion]:
    """Read some columns of a CSV (UTF-8, commas) or parquet file.

    Returns:
        One entry per row in file order; a row with too many or too few fields is an exclusion.
        Surrounding blanks are removed, nulls become empty, nothing else is changed.

    Raises:
        DataError: There is no such file, it cannot be read, or a column is missing.
    """
    if not file.is_file():
        raise DataError(f"{file}: expected a CSV or parquet file of labels, there is no such file")
    try:
        if is_parquet(file):
            return _parquet_rows(file, columns)
        with file.open(encoding="utf-8-sig", newline="") as stream:
            return list(_csv_rows(file, csv.reader(stream, strict=True), columns))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: expected UTF-8 text, got byte {error.object[error.start]:#04x} at position "
            f'{error.start}; save it again as "CSV UTF-8"'
        ) from error
    except (csv.Error, OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: expected a readable CSV or parquet file: {error}") from error


def is_parquet(file: Path) -> bool:
    """Whether the file starts as parquet files do."""
    with file.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def require_columns(file: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    """Check that a table has the columns, each once.

    Raises:
        DataError: One is missing (the nearest is named) or stands twice.
    """
    for column in columns:
        if found.count(column) > 1:
            raise DataError(f"{file}: expected one column {column!r}, got {found.count(column)}")
        if column not in found:
            near = difflib.get_close_matches(column, found, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{file}: expected a column {column!r}{hint} (columns: {', '.join(found)})"
            )


def _csv_rows(
    file: Path, reader: Iterator[list[str]], columns: Sequence[str]
) -> Iterator[Row | Exclusion]:
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise DataError(f"{file}: expected a header line and rows, got an empty file")
    for separator, word in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            raise DataError(
                f"{file}: expected fields separated by commas, got {word}; save it with commas"
            )
    require_columns(file, header, columns)
    places = {column: header.index(column) for column in columns}
    for number, fields in enumerate(reader, start=1):
        if not fields:
            continue
        if len(fields) != len(header):
            detail = f"expected {len(header)} fields, got {len(fields)}"
            yield Exclusion(f"{file.name} row {number}", "malformed row", detail)
            continue
        yield {column: fields[place].strip() for column, place in places.items()}


def _parquet_rows(file: Path, columns: Sequence[str]) -> list[Row | Exclusion]:
    with pq.ParquetFile(file) as parquet:
        require_columns(file, parquet.schema_arrow.names, columns)
        table = parquet.read(columns=list(columns))
    values = [table.column(column).to_pylist() for column in columns]
    return [
        {
            column: "" if value is None else str(value).strip()
            for column, value in zip(columns, row, strict=True)
        }
        for row in zip(*values, strict=True)
    ]

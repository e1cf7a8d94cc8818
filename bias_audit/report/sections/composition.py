"""How many images each intersection has, as a compact table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bias_audit.groups import Attribute
from bias_audit.report.grid import Grid, grid_by_columns, trailing_columns
from bias_audit.results.audit import CellCount, DataRecord
from bias_audit.shapes.printed import count, counted

_MOST_COLUMNS = 14
_MOST_PRINTED_ROWS = 40


@dataclass(frozen=True)
class Heading:
    """A heading over one or more columns."""

    label: str
    span: int


@dataclass(frozen=True)
class CountCell:
    """Images of one intersection."""

    text: str
    is_empty: bool


@dataclass(frozen=True)
class CountRow:
    """A row of intersections and their sum."""

    levels: tuple[str, ...]
    cells: tuple[CountCell, ...]
    total: str


@dataclass(frozen=True)
class Composition:
    """Intersections by rows and columns."""

    caption: str
    row_names: tuple[str, ...]
    """Attributes that name the rows."""
    headings: tuple[tuple[Heading, ...], ...]
    """Rows of headings over the counts, coarse first."""
    rows: tuple[CountRow, ...]
    summary: str
    """Size and gaps in a sentence."""
    empty: str
    """The cells without images, in words; "" where there are none."""
    is_long: bool


def composition(data: DataRecord) -> Composition:
    """Arrange the counts with the last attributes as columns, as far as they fit.

    Raises:
        ValueError: No group is declared.
    """
    if not data.cells:
        raise ValueError("data.cells: expected every declared group, got none")
    groups = [cell.group for cell in data.cells]
    attributes = [Attribute(a.name, a.levels) for a in data.attributes]
    across = trailing_columns(attributes, _MOST_COLUMNS)
    grid = grid_by_columns(groups, across)
    sampled = any(cell.used != cell.found for cell in data.cells)
    rows = _grid_rows(grid, data.cells, sampled=sampled) if grid else _plain_rows(data.cells)
    names = tuple(a.name for a in grid.row_attributes) if grid else ("group",)
    shown = "Images used / usable images found" if sampled else "Images, all of them used"
    return Composition(
        caption=f"{shown}, by {', '.join(attribute.name for attribute in attributes)}",
        row_names=names,
        headings=_headings(grid.column_attributes if grid else ()),
        rows=rows,
        summary=_summary(data.cells),
        empty=_empty(data.cells),
        is_long=len(rows) > _MOST_PRINTED_ROWS,
    )


def _headings(attributes: Sequence[Attribute]) -> tuple[tuple[Heading, ...], ...]:
    if not attributes:
        return ((Heading("images", 1),),)
    rows: list[tuple[Heading, ...]] = []
    repeats, span = 1, 1
    for attribute in attributes:
        span *= len(attribute.levels)
    for attribute in attributes:
        span //= len(attribute.levels)
        rows.append(tuple(Heading(level, span) for level in attribute.levels) * repeats)
        repeats *= len(attribute.levels)
    return tuple(rows)


def _grid_rows(grid: Grid, cells: Sequence[CellCount], *, sampled: bool) -> tuple[CountRow, ...]:
    rows = []
    for levels in grid.rows:
        members = [cells[grid.places[levels, column]] for column in grid.columns]
        rows.append(
            CountRow(
                levels,
                tuple(_cell(cell, sampled=sampled) for cell in members),
                _text(sum(m.used for m in members), sum(m.found for m in members), sampled),
            )
        )
    return tuple(rows)


def _plain_rows(cells: Sequence[CellCount]) -> tuple[CountRow, ...]:
    return tuple(
        CountRow((cell.group.label,), (_cell(cell, sampled=True),), count(cell.used))
        for cell in cells
    )


def _cell(cell: CellCount, *, sampled: bool) -> CountCell:
    return CountCell(_text(cell.used, cell.found, sampled), is_empty=cell.used == 0)


def _text(used: int, found: int, sampled: bool) -> str:  # noqa: FBT001
    if found == 0:
        return "none"
    return f"{count(used)} / {count(found)}" if sampled else count(used)


def _summary(cells: Sequence[CellCount]) -> str:
    used = sorted(cell.used for cell in cells)
    empty = sum(n == 0 for n in used)
    gaps = f"{counted(empty, 'group')} without images" if empty else "none without images"
    middle = used[len(used) // 2]
    return (
        f"{counted(len(cells), 'declared group')}, {gaps}; the smallest has "
        f"{counted(used[0], 'image')}, the median group {count(middle)}, the largest "
        f"{count(used[-1])}."
    )


def _empty(cells: Sequence[CellCount]) -> str:
    return "; ".join(cell.group.label for cell in cells if cell.used == 0)

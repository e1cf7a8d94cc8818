"""The pieces a report is put together from: strings and rows, ready to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MOST_PRINTED_ROWS: Final = 60
"""Longer tables are shortened on paper."""

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    label: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first cell in each row names the row."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Cells, ...]
    n_headers: int = 1
    """Leading cells of a row that name it."""
    excerpt: tuple[Cells, ...] = ()
    """What paper shows of a long table."""
    excerpt_note: str = ""
    """Which rows the excerpt holds, and where all are."""

    @property
    def is_long(self) -> bool:
        """Whether paper shows the excerpt alone."""
        return len(self.rows) > MOST_PRINTED_ROWS


@dataclass(frozen=True)
class BlockText:
    """A block in words and tables."""

    alt: str | None
    """What the figure shows, for readers who cannot see it; None where nothing can be drawn."""
    caption: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class FigureView:
    """A drawing and its text."""

    source: str
    """A `data:` URI."""
    alt: str
    caption: str
    data: str | None = None
    """The file in the run folder that holds its numbers."""


@dataclass(frozen=True)
class BlockView:
    """A block as the template of its shape prints it."""

    shape: str
    """Names the template."""
    anchor: str
    title: str
    analysis: str
    """Title of the analysis it comes from."""
    is_first: bool
    """Whether it is the backbone's first of its shape, and so explains how to read it."""
    figure: FigureView | None
    notes: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Fact:
    """A name and what it is."""

    name: str
    values: Cells
    """One line each."""
    is_code: bool = False
    """Whether it is a digest, a command or another text to copy."""


@dataclass(frozen=True)
class Failure:
    """An analysis that could not be computed."""

    backbone: str
    title: str
    error: str

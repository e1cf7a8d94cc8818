"""The pieces a report is put together from: strings and rows, ready to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from markupsafe import Markup

from bias_audit.errors import OutputError

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
    """A drawing, made when it is asked for, and its text.

    Raises:
        OutputError: There is no `alt`.
    """

    anchor: str
    """Of its block."""
    alt: str
    caption: str
    draw: Callable[[], str]
    """As a `data:` URI."""
    draw_inline: Callable[[], Markup]
    """As an `svg` element."""
    pack: Callable[[], str | None]
    """Its numbers, compressed; None where they are too many for a page."""
    data: str | None = None
    """The file in the run folder that holds its numbers."""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise OutputError(
                f"figure {self.anchor}: expected a text that tells what it shows to readers who "
                "cannot see it, got none; give its block a BlockText.alt made from its numbers"
            )

    @cached_property
    def source(self) -> str:
        """For paper: a `data:` URI."""
        return self.draw()

    @cached_property
    def inline(self) -> Markup:
        """For the screen: an `svg` element."""
        return self.draw_inline()

    @cached_property
    def packed(self) -> str | None:
        """For the screen: the rows of its data file, deflated, in base64."""
        return self.pack()


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
    layer: str | None = None
    """The one it is about; None where it is about several."""


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

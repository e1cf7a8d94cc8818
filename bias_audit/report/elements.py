"""The pieces a report is put together from: strings and rows, ready to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from bias_audit.errors import OutputError
from bias_audit.shapes.tables import Cells, Table


@dataclass(frozen=True)
class FigureView:
    """A drawing, made when it is asked for, and its text.

    Raises:
        OutputError: There is no `alt`.
    """

    draw: Callable[[], str]
    """Draws it as a `data:` URI."""
    alt: str
    caption: str
    data: str | None = None
    """The file in the run folder that holds its numbers."""
    anchor: str = ""
    """Of its block."""
    draw_inline: Callable[[], Markup] = Markup
    """Draws it as an `svg` element."""
    pack: Callable[[], str | None] = lambda: None
    """Its numbers, compressed; None where they are too many for a page."""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise OutputError(
                f"figure {self.anchor}: expected a text that tells what it shows to readers who "
                "cannot see it, got none; give its block a BlockText.alt made from its numbers"
            )

    @cached_property
    def source(self) -> str:
        """A `data:` URI; drawn when first asked for, since paper shows only some figures."""
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
    """A block as a page prints it."""

    shape: str
    anchor: str
    title: str
    analysis: str
    """Title of the analysis it comes from."""
    reading: tuple[str, ...]
    """How to read it, in paragraphs."""
    heading: str
    """Over that; empty: a plain paragraph."""
    in_short: str
    """The same for paper."""
    figure: FigureView | None
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    is_open: bool = False
    """Whether tables are shown unfolded."""
    has_notes_first: bool = False
    explains: bool = False
    """Whether it is the first of its kind, and says how to read it."""
    is_detail: bool = False
    """Whether paper only lists it, because other blocks carry the message."""
    is_drawn_on_paper: bool = True
    """Whether its figure says more there than its table."""
    new_notes: tuple[str, ...] = ()
    """Notes that no block printed before it has."""
    layer: str | None = None
    """The one it is about; None where it is about several."""

    @property
    def n_rows(self) -> int:
        """Of all its tables."""
        return sum(len(table.rows) for table in self.tables)


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

"""What every page is made of: sections of prose, tables, figures and notes; and its templates.

Audits, comparisons and zoos build a `Page`; one set of templates prints it, on screen or paper.
Text is escaped; a `Markup`, made by `markupsafe`'s formatting, may hold links and emphasis.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup

import bias_audit
from bias_audit.errors import OutputError
from bias_audit.results.finding import Question
from bias_audit.shapes.tables import Cells, Column, Table

if TYPE_CHECKING:
    from bias_audit.report.figures.saving import FigureView

Medium = Literal["screen", "paper"]


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    part: ClassVar[str] = "prose"
    text: str
    look: str = ""
    """Its classes in the style sheet, such as "note" or "box failure"."""
    strong: str = ""
    """Words before it."""
    running: str = ""
    """For the foot of pages."""


@dataclass(frozen=True)
class Fact:
    """A name and what it is."""

    name: str
    values: Cells
    """One line each."""
    is_code: bool = False
    """Whether it is a digest, a command or another text to copy."""
    tag: str = ""
    """A word in a box behind the name."""
    look: str = ""
    """Classes of the values in the style sheet."""


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    part: ClassVar[str] = "facts"
    entries: tuple[Fact, ...]
    look: str = "facts"


@dataclass(frozen=True)
class Item:
    """A line of a list."""

    text: str
    look: str = ""
    anchor: str = ""
    tag: str = ""
    """A word in a box before it."""


@dataclass(frozen=True)
class Items:
    """A list."""

    part: ClassVar[str] = "items"
    items: tuple[Item, ...]
    look: str = ""
    is_numbered: bool = False


@dataclass(frozen=True)
class Tabled:
    """A table; on paper a long one is an excerpt."""

    part: ClassVar[str] = "table"
    table: Table
    look: str = ""
    is_folded: bool = False
    """Whether the screen folds it away."""
    rows_named: str = ""
    """Begins the anchors of its rows; empty: they have none."""


@dataclass(frozen=True)
class CountRow:
    """A row of intersections and their sum."""

    levels: Cells
    cells: tuple[tuple[str, bool], ...]
    """Images of each intersection, and whether it has none."""
    total: str


@dataclass(frozen=True)
class Counted:
    """Images of every group."""

    part: ClassVar[str] = "counted"
    caption: str
    row_names: tuple[str, ...]
    """Attributes that name the rows."""
    headings: Cells
    """Over the counts."""
    rows: tuple[CountRow, ...]


@dataclass(frozen=True)
class Drawn:
    """A figure."""

    part: ClassVar[str] = "figure"
    figure: FigureView
    look: str = ""


@dataclass(frozen=True)
class Shown:
    """A block of results, with its figure, notes and tables."""

    part: ClassVar[str] = "block"
    shape: str
    anchor: str
    title: str
    question: Question
    """That it helps to answer."""
    reading: tuple[str, ...]
    """How to read it, in paragraphs."""
    heading: str
    """Over that; empty: a plain paragraph."""
    in_short: str
    """The same for paper."""
    figure: FigureView | None
    notes: tuple[str, ...]
    """Those that no block before it has."""
    tables: tuple[Table, ...]
    is_open: bool = False
    """Whether tables are shown unfolded."""
    has_notes_first: bool = False
    explains: bool = False
    """Whether it is the first of its kind, and says how to read it."""
    is_detail: bool = False
    """Whether it is folded away, and on paper only named, because others carry the message."""
    layer: str | None = None
    """The one it is about; None where it is about several."""


@dataclass(frozen=True)
class AnswerRow:
    """A question, its number as a picture, and the number in words."""

    name: str
    figure: FigureView | None
    text: str
    meaning: str


@dataclass(frozen=True)
class AnswerRows:
    """Questions and answers, one below the other."""

    part: ClassVar[str] = "answers"
    rows: tuple[AnswerRow, ...]


@dataclass(frozen=True)
class Beside:
    """Parts with others in a column beside them, or below where there is no room."""

    part: ClassVar[str] = "beside"
    main: tuple[Part, ...]
    aside: tuple[Part, ...]


@dataclass(frozen=True)
class Cards:
    """Short sections side by side, as many as there is room for."""

    part: ClassVar[str] = "cards"
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Form:
    """A table that a person completes."""

    part: ClassVar[str] = "form"
    caption: str
    rows: tuple[tuple[str, str], ...]
    """A question, and what is known about it."""


@dataclass(frozen=True)
class Code:
    """Text to copy, as it is."""

    part: ClassVar[str] = "code"
    text: str
    look: str = ""


@dataclass(frozen=True)
class Fold:
    """Parts that the screen folds away until a reader opens them; paper prints them."""

    part: ClassVar[str] = "fold"
    summary: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Only:
    """Parts of one medium."""

    part: ClassVar[str] = "only"
    medium: Medium
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    part: ClassVar[str] = "section"
    anchor: str
    title: str
    parts: tuple[Part, ...]
    look: str = ""
    answers: tuple[str, ...] = ()
    """The laws and standards that it is relevant to."""
    name: str = ""
    """Of the backbone that it is about."""
    layer: str = ""
    """That it is about."""
    running: str = ""
    """The title, short enough for the head of a page."""
    medium: Medium | None = None
    """The only one that prints it; None: both."""
    is_listed: bool = False
    """Whether a table of contents names it, below its section."""


Part = (
    Prose | Facts | Items | Tabled | Counted | Drawn | Shown | AnswerRows | Beside | Cards | Form
    | Code | Fold | Only | Section
)  # fmt: skip


@dataclass(frozen=True)
class Choices:
    """Choices under one heading."""

    name: str
    """A backbone or an attribute."""
    values: tuple[str, ...]


@dataclass(frozen=True)
class Picker:
    """Something that a reader of the page can choose."""

    key: Literal["layer", "group"]
    label: str
    every: str
    """The choice of all."""
    choices: tuple[Choices, ...]


@dataclass(frozen=True)
class Page:
    """Everything that a page prints, in the order in which it does."""

    kind: str
    """Such as "Audit report"."""
    title: str
    headline: str
    """Stands at the top: the conclusion, or the title."""
    lead: str
    cover: tuple[Part, ...]
    sections: tuple[Section, ...]
    footer: str
    created: str
    """ISO 8601."""
    description: str
    pickers: tuple[Picker, ...] = ()
    running: str = ""
    """The title, short enough for the head of a page."""
    look: str = ""
    """Its class in the style sheet."""


def listed(section: Section) -> tuple[Section, ...]:
    """The sections in it that a table of contents names, at any depth."""
    found: list[Section] = []
    for part in section.parts:
        if isinstance(part, Section):
            found += [part] if part.is_listed else listed(part)
    return tuple(found)


def paragraphs(lines: Iterable[str], look: str = "") -> tuple[Prose, ...]:
    """Lines as paragraphs of one look."""
    return tuple(Prose(line, look) for line in lines)


def bullets(lines: Iterable[str], look: str = "") -> tuple[Items, ...]:
    """Lines as a list; nothing without lines."""
    items = tuple(Item(line) for line in lines)
    return (Items(items, look),) if items else ()


def text_columns(*labels: str) -> tuple[Column, ...]:
    """Columns of words."""
    return tuple(map(Column, labels))


def number_columns(*labels: str) -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(label, numeric=True) for label in labels)


def maybe(table: Table | None, *, otherwise: str = "") -> tuple[Part, ...]:
    """A table, or a sentence where there is none."""
    if table is not None:
        return (Tabled(table),)
    return (Prose(otherwise),) if otherwise else ()


def html(page: Page, *, medium: Medium = "screen") -> str:
    """Fill the templates; the screen folds long tables away, paper prints them or an excerpt."""
    return (
        template_engine()
        .get_template("page.html")
        .render(page=page, medium=medium, version=bias_audit.__version__, listed=listed)
    )


def parts(*some: Part | Sequence[Part]) -> tuple[Part, ...]:
    """Parts and sequences of parts, in one row."""
    found: list[Part] = []
    for each in some:
        found += each if isinstance(each, Sequence) else [each]
    return tuple(found)


def linked(text: str, href: str | None) -> str:
    """Text that leads somewhere; as it is where it does not."""
    return Markup('<a href="{}">{}</a>').format(href, text) if href else text


_OF_DAMAGE: Final = (
    LookupError, ValueError, TypeError, ArithmeticError, RecursionError, EOFError, TemplateError,
)  # fmt: skip


@contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Name the run folder in what goes wrong with its results.

    Raises:
        OutputError: In place of any error that damaged results lead to.
    """
    try:
        yield
    except _OF_DAMAGE as error:
        cause = str(error) or type(error).__name__
        raise OutputError(
            f"{folder}: its results are damaged or were written by another release: {cause}"
        ) from error


def template_folder() -> Path:
    """The templates: inside the package once installed, beside it in a source tree.

    Raises:
        OutputError: Neither place has them.
    """
    package = Path(bias_audit.__file__).resolve().parent
    places = (package / "templates", package.parent / "templates")
    for place in places:
        if (place / "base.html").is_file():
            return place
    raise OutputError(
        f"expected the report's templates in {places[0]} or {places[1]}, found neither: "
        "reinstall bias-audit"
    )


def template_engine() -> Environment:
    """Jinja over the templates: everything is escaped, an undefined name is an error.

    It is the same one each time, and not to be changed: it keeps what it has compiled.
    """
    return _engine(template_folder())


@functools.cache
def _engine(folder: Path) -> Environment:
    engine = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    engine.filters["source_hash"] = source_hash
    return engine


def source_hash(content: str) -> str:
    """What a Content-Security-Policy calls an inlined style or script, such as "sha256-...".

    Source: Content Security Policy Level 3, section 2.3.1 (hash-source).
    """
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"

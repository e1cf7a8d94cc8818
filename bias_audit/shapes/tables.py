"""Tables and texts of blocks, ready to print, made from the rows of their shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bias_audit.groups import Group
from bias_audit.shapes.printed import MISSING, count, counted, interval, sample, sample_heading
from bias_audit.statistics.estimate import Estimate

MOST_PRINTED_ROWS: Final = 14
"""Longer tables are shortened on paper."""
_EACH_END: Final = 5
Cells = tuple[str, ...]
T = TypeVar("T")


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
    """Which rows the excerpt holds, and what to know of these."""
    is_detail: bool = False
    """Whether paper leaves it out and says so."""

    @property
    def is_long(self) -> bool:
        """Whether paper shows the excerpt alone."""
        return len(self.rows) > MOST_PRINTED_ROWS and len(self.excerpt) < len(self.rows)

    @property
    def left_out(self) -> str:
        """What of the rows paper leaves out, and where all of them are."""
        shown = len(self.excerpt)
        if shown == 0:
            return f"Its {counted(len(self.rows), 'row')} are in report.html and audit.json."
        return (
            f"{count(shown)} of {counted(len(self.rows), 'row')}; the other "
            f"{count(len(self.rows) - shown)} are in report.html and audit.json."
        )


@dataclass(frozen=True)
class BlockText:
    """A block in words and tables."""

    alt: str | None
    """What the figure shows, for readers who cannot see it; None where nothing can be drawn."""
    caption: str
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    reading: tuple[str, ...] = ()
    """How to read it, in place of what the shape says."""


@dataclass(frozen=True)
class Shown:
    """A column of a printed table: its heading, and how a row's cell is written."""

    heading: str
    cell: Callable[[Any], str]
    numeric: bool = True


def words(heading: str, name: str) -> Shown:
    """A column of text."""
    return Shown(heading, lambda row: row.get(name) or "", numeric=False)


def measured(heading: str, name: str = "estimate", form: Callable[[Any], str] = interval) -> Shown:
    """A column of estimates; where one is missing, its reason."""

    def cell(row: Mapping[str, Any]) -> str:
        if row.get(name) is not None:
            return form(row[name])
        return f"{MISSING}: {row['reason']}" if row.get("reason") else MISSING

    return Shown(heading, cell)


def images(noun: str, rows: Iterable[Mapping[str, Any]]) -> Shown:
    """The column of how many images a row rests on, with effective clusters where these matter."""
    heading = sample_heading(noun, [(row["images"], row["estimate"]) for row in rows])
    return Shown(heading, lambda row: sample(row["images"], row["estimate"]))


def table(
    caption: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Iterable[Shown],
    *,
    excerpt: Sequence[Mapping[str, Any]] = (),
    note: str = "",
    n_headers: int = 1,
    is_detail: bool = False,
) -> Table:
    """Print rows of a shape.

    Args:
        caption: Heads it.
        rows: All of them.
        columns: How each cell is written.
        excerpt: The rows that paper shows of a long table.
        note: Which these are.
        n_headers: Leading columns that name a row.
        is_detail: Whether paper leaves it out.
    """
    shown = tuple(columns)
    printed, short = (
        tuple(tuple(column.cell(row) for column in shown) for row in some)
        for some in (rows, excerpt)
    )
    heads = tuple(Column(column.heading, column.numeric) for column in shown)
    return Table(caption, heads, printed, n_headers, short, note, is_detail)


def has(rows: Iterable[Mapping[str, Any]], name: str) -> bool:
    """Whether any row has a value in a column."""
    return any(row.get(name) is not None for row in rows)


def group_heading(groups: Sequence[Group]) -> str:
    """Names of the attributes as labels join them, such as "age / race / gender"."""
    names = {tuple(name for name, _ in group.levels) for group in groups}
    return " / ".join(next(iter(names))) if len(names) == 1 else "group"


def group_column(rows: Iterable[Mapping[str, Any]], heading: str = "{}") -> Shown:
    """The column of groups, headed by their attributes."""
    named = group_heading([row["group"] for row in rows])
    return Shown(heading.format(named), lambda row: row["group"].label, numeric=False)


def unmeasured(reasons: Iterable[str | None], total: int) -> tuple[str, ...]:
    """A sentence on the groups without an estimate; none where all have one."""
    counts = Counter(reason or "no reason given" for reason in reasons)
    if not counts:
        return ()
    listed = "; ".join(f"{reason} ({count(n)})" for reason, n in counts.most_common(5))
    rest = "" if len(counts) <= 5 else f"; and {len(counts) - 5} more reasons"  # noqa: PLR2004
    return (f"{count(counts.total())} of {counted(total, 'group')} not measured: {listed}{rest}.",)


def ascending(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that have an estimate, the lowest first."""
    known = [row for row in rows if row["estimate"] is not None]
    return sorted(known, key=lambda row: row["estimate"].value)


def ends(rows: Sequence[T], each: int = _EACH_END) -> list[T]:
    """The first and the last rows; all where they are few."""
    return [*rows] if len(rows) <= 2 * each else [*rows[:each], *rows[-each:]]


ENDS_NOTE: Final = (
    f"The {_EACH_END} lowest and the {_EACH_END} highest values. Extremes among many small groups "
    "are partly chance: read the intervals."
)
"""Which rows of a long table of groups paper shows."""


def lowest_and_highest(
    rows: Iterable[Mapping[str, Any]],
    name: Callable[[Mapping[str, Any]], str],
    heads: tuple[str, str] = ("Lowest", "Highest"),
    more: Callable[[Mapping[str, Any]], str] = lambda _: "",
) -> str:
    """Such as "Lowest: a, 0.1 [0.0, 0.2]. Highest: b, 0.9 [0.8, 1.0].", for an alternative text."""
    found = ascending(rows)
    ends_of = zip(heads, (found[0], found[-1]), strict=True) if found else ()
    return " ".join(
        f"{head}: {name(row)}, {interval(row['estimate'])}{more(row)}." for head, row in ends_of
    )


def estimates_of(rows: Iterable[Mapping[str, Any]], *names: str) -> list[Estimate]:
    """All estimates of some columns."""
    return [
        row[name] for row in rows for name in names or ("estimate",) if row.get(name) is not None
    ]

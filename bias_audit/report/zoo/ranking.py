"""How backbones compare: values with intervals, and the ranks that these allow."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.marks import mark_row
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import (
    CONTROL,
    INK,
    WIDTH,
    Palette,
    dotted_line,
    draw_dot,
    grid_lines,
    name_rows,
    shortened,
    styled,
)
from bias_audit.report.page import (
    Drawn,
    Fold,
    Prose,
    Section,
    Tabled,
    bullets,
    number_columns,
    paragraphs,
    parts,
    text_columns,
)
from bias_audit.report.zoo.curves import Question
from bias_audit.results.history.reading import History, Point
from bias_audit.shapes.printed import (
    counted,
    coverage,
    format_estimate,
    guess,
    interval,
    sentence,
    signed_interval,
)
from bias_audit.shapes.shape import Rows, estimate_cells
from bias_audit.shapes.tables import Table
from bias_audit.statistics.comparison import RankRange, groups_alike, rank_ranges

ALPHA: Final = 0.05
_MOST_GROUPED: Final = 30
"""With more backbones, there are too many groups to read; ranks show the same."""


MOST: Final = 60
"""Backbones of one figure."""


@dataclass(frozen=True)
class Dots:
    """One backbone."""

    label: str
    highest: Point
    last: Point
    ranks: str
    """Such as "2-5"."""


def ranking(question: Question, history: History, colours: Palette, anchor: str) -> Section:
    """Rank the backbones of a question, with a figure."""
    found = _rank(question, history)
    groups = _group_lines(found)
    noun = "group" if len(groups) == 1 else "groups"
    alike = Fold(
        f"{len(groups)} {noun} of backbones without a significant difference",
        parts(
            Prose(
                "No two backbones of a group differ significantly; a backbone may be in several "
                "groups. No significant difference does not mean equal.",
                "note",
            ),
            bullets(groups, "groups"),
        ),
    )
    return Section(
        anchor,
        f"{question.title}: {question.metric}",
        parts(
            Drawn(_figure(question, found, colours.colour(question.target), anchor)),
            paragraphs(_notes(question, found), "note"),
            (alike,) if groups else (),
            Tabled(_table(question, found), is_folded=True),
        ),
        look="block",
        is_listed=True,
    )


def ranking_table(question: Question, history: History) -> Tabled:
    """The same in a table alone."""
    return Tabled(_table(question, _rank(question, history)), is_folded=True)


@dataclass(frozen=True)
class _Ranked:
    """Backbones in order of their highest value."""

    dots: tuple[Dots, ...]
    highest: tuple[RankRange, ...]
    last: tuple[RankRange, ...]
    groups: tuple[tuple[int, ...], ...]


def _rank(question: Question, history: History) -> _Ranked:
    highest = [history.highest[question.key(each)] for each in question.backbones]
    last = [history.last[question.key(each)] for each in question.backbones]
    tops = rank_ranges(
        [point.estimate for point in highest],
        alpha=ALPHA,
        choices=[point.n_layers for point in highest],
    )
    ends = rank_ranges([point.estimate for point in last], alpha=ALPHA)
    dots = tuple(
        Dots(backbone.label, top, end, _format_ranks(found))
        for backbone, top, end, found in zip(question.backbones, highest, last, tops, strict=True)
    )
    groups = groups_alike(tops) if len(tops) <= _MOST_GROUPED else ()
    return _Ranked(dots, tops, ends, groups)


def _format_ranks(found: RankRange) -> str:
    """Such as "2", or "2-5" with a dash."""
    if found.best == found.worst:
        return str(found.best)
    return f"{found.best}\N{EN DASH}{found.worst}"


def _notes(question: Question, found: _Ranked) -> tuple[str, ...]:
    n = len(found.dots)
    if n == 1:
        return ("There is only one backbone, so there is no comparison.",)
    apart = sum(n - 1 - len(each.alike) for each in found.highest) // 2
    pairs = n * (n - 1) // 2
    notes = [
        f"{apart} of {counted(pairs, 'pair')} of backbones differ significantly in their highest "
        f"value (Holm's procedure, family-wise error rate {ALPHA:g})."
    ]
    if n > _MOST_GROUPED:
        notes.append(
            f"Groups are listed for up to {_MOST_GROUPED} backbones; ranks are always given."
        )
    if question.is_drawn and n > MOST:
        notes.append(
            f"The figure shows the {MOST} with the highest values; the table has all {n}."
        )
    return tuple(notes)


def _letters(place: int) -> str:
    letters = string.ascii_lowercase
    return letters[place] if place < len(letters) else f"{letters[-1]}{place - len(letters) + 2}"


def _group_lines(found: _Ranked) -> tuple[str, ...]:
    return tuple(
        f"{_letters(place)}: {', '.join(found.dots[i].label for i in members)}"
        for place, members in enumerate(found.groups)
        if len(found.dots) > 1
    )


def _table(question: Question, found: _Ranked) -> Table:
    estimates = [dots.highest.estimate for dots in found.dots]
    rows = []
    for place, dots in enumerate(found.dots):
        groups = (_letters(i) for i, members in enumerate(found.groups) if place in members)
        rows.append(
            (
                dots.label,
                dots.ranks,
                " ".join(groups),
                interval(dots.highest.estimate),
                dots.highest.layer,
                signed_interval(dots.highest.lift_estimate),
                dots.highest.strongest or "no baseline",
                interval(dots.last.estimate),
                _format_ranks(found.last[place]),
            )
        )
    return Table(
        caption=sentence(
            f"{question.metric} of {question.title}, with {coverage(estimates) or 'intervals'}"
        ),
        columns=(
            *text_columns("backbone"),
            *number_columns("possible ranks"),
            *text_columns("groups"),
            *number_columns("highest over the layers"),
            *text_columns("at layer"),
            *number_columns("lift"),
            *text_columns("over"),
            *number_columns("last layer", "possible ranks at the last layer"),
        ),
        rows=tuple(rows),
    )


def _figure(question: Question, found: _Ranked, colour: str, anchor: str) -> FigureView:
    top, low = found.dots[0], found.dots[-1]
    alt = (
        f"Dot plot of {question.metric} of {question.title}, "
        f"{counted(len(found.dots), 'backbone')} from the highest value, "
        f"{top.label} with {interval(top.highest.estimate)}, to the lowest, {low.label} "
        f"with {interval(low.highest.estimate)}. The table below has all."
    )
    shown = found.dots[:MOST]
    return FigureView(
        partial(ranking_figure, shown, metric=question.metric, colour=colour),
        partial(_data, found.dots),
        alt=alt,
        caption=f"{sentence(question.metric)} of {question.title}: values with intervals, and the "
        "possible ranks.",
        anchor=anchor,
        heading="backbone",
    )


def _data(found: Sequence[Dots]) -> Rows:
    names = ("value", "lower", "upper", "level", "n")
    rows: Rows = [("backbone", "at", "layer", *names, "strongest baseline", "its value", "ranks")]
    for dots in found:
        for at, point in (("highest", dots.highest), ("last", dots.last)):
            ranks = dots.ranks if at == "highest" else None
            cells = estimate_cells(point.estimate)[:5]
            rows.append(
                (dots.label, at, point.layer, *cells, point.strongest, point.control, ranks)
            )
    return rows


@styled
def ranking_figure(rows: Sequence[Dots], *, metric: str, colour: str) -> Figure:
    """Draw backbones in the order given, from the highest value to the lowest."""
    pitch = 0.235 if len(rows) <= 30 else 0.17  # noqa: PLR2004
    figure = Figure(figsize=(WIDTH, pitch * (len(rows) + 1) + 0.62), layout="constrained")
    axes = figure.subplots()
    grid_lines(axes, "x")
    for place, row in enumerate(rows):
        _draw(axes, place, row, colour)
    chance = rows[0].highest.chance
    if chance is not None:
        dotted_line(axes, chance)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    name_rows(axes, [shortened(row.label, 36) for row in rows], 7.5)
    ranks = axes.secondary_yaxis("right")
    ranks.set_yticks(range(len(rows)), [row.ranks for row in rows], fontsize=7)
    ranks.tick_params(length=0)
    ranks.spines["right"].set_visible(False)
    ranks.set_ylabel("possible ranks", fontsize=7, color=INK)
    guessing = "" if chance is None else f"; dotted: chance, {guess(chance)}"
    axes.set_xlabel(
        f"{metric}\nfilled: highest over the layers; hollow: last layer; grey tick: strongest "
        f"baseline of the former{guessing}",
        fontsize=7.5,
    )
    return figure


def _draw(axes: Axes, place: int, row: Dots, colour: str) -> None:
    draw_dot(axes, place - 0.14, row.highest.estimate, colour, size=4.4)
    draw_dot(axes, place + 0.2, row.last.estimate, colour, size=3.8, is_hollow=True)
    if row.highest.control is not None:
        y = (place - 0.3, place + 0.02)
        axes.plot([row.highest.control] * 2, y, color=CONTROL, linewidth=1.6)
    text = (
        f"highest, at {row.highest.layer}: {format_estimate(row.highest.estimate)}; lift over "
        f"{row.highest.strongest or 'guessing'} "
        f"{signed_interval(row.highest.lift_estimate)}; last layer: "
        f"{interval(row.last.estimate)}; possible ranks: {row.ranks}"
    )
    mark_row(axes, place, key=row.label, text=text)

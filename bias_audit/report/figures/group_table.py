"""A metric of every group: a dot with its interval each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import mark_row
from bias_audit.report.figures.style import (
    CONTROL,
    INK,
    MUTED,
    PLAIN,
    WIDTH,
    Look,
    Palette,
    dotted_line,
    draw_dot,
    grid_lines,
    name_rows,
    shortened,
    styled,
)
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.printed import count, format_estimate, guess
from bias_audit.shapes.shape import Arrays
from bias_audit.shapes.tables import group_heading

_PER_COLUMN = 72
_HEADINGS_FROM = 30


@dataclass(frozen=True)
class _Line:
    label: str
    dot: GroupRow | None
    """None for a heading."""


@styled
def group_table(block: GroupTable, _arrays: Arrays, palette: Palette = PLAIN) -> Figure:
    """Draw a dot with its interval per group, its stabilised estimate, and a tick for chance."""
    look = palette.look(block.target)
    return dot_plot(block.rows, metric=block.metric, chance=block.chance, look=look)


def dot_plot(dots: Sequence[GroupRow], *, metric: str, chance: float | None, look: Look) -> Figure:
    """Draw groups from top to bottom in their declared order, in columns where they are many.

    At least one has an estimate; a dotted line marks chance, where there is one.
    """
    columns = _columns(_lines(dots))
    tallest = max(map(len, columns))
    pitch = _pitch(tallest)
    height = pitch * (tallest + 1) + 0.75
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(1, len(columns), sharex=True, squeeze=False)[0]
    for axes, lines in zip(panels, columns, strict=True):
        _draw(axes, lines, pitch, look)
        axes.set_ylim(tallest - 0.4, -0.6)
        if chance is not None:
            dotted_line(axes, chance)
    panels[0].set_xlim(*_limits(dots, chance))
    figure.supxlabel(_axis_label(dots, metric, chance), fontsize=8, color=INK)
    return figure


def _axis_label(dots: Sequence[GroupRow], metric: str, chance: float | None) -> str:
    marks = [] if chance is None else [f"dotted line: chance, {guess(chance)}"]
    if any(dot.estimate is not None and dot.by_chance is not None for dot in dots):
        marks.append("grey tick: if predictions ignored the image")
    if any(dot.shrunk is not None for dot in dots):
        marks.append("hollow diamond: stabilised")
    return f"{metric} ({'; '.join(marks)})" if marks else metric


def _lines(dots: Sequence[GroupRow]) -> list[_Line]:
    if len(dots) <= _HEADINGS_FROM or any(len(dot.group.levels) == 1 for dot in dots):
        return [_Line(shortened(dot.group.label, 44), dot) for dot in dots]
    lines: list[_Line] = []
    heading = None
    for dot in dots:
        (_, first), *rest = dot.group.levels
        if first != heading:
            lines.append(_Line(shortened(first), None))
            heading = first
        lines.append(_Line(shortened(" / ".join(level for _, level in rest), 36), dot))
    return lines


def _columns(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Split lines evenly into columns, before a heading where there are any."""
    number = math.ceil(len(lines) / _PER_COLUMN)
    target = len(lines) / number
    has_headings = any(line.dot is None for line in lines)
    columns: list[list[_Line]] = [[]]
    for place, line in enumerate(lines):
        may_break = line.dot is None or not has_headings
        if may_break and place >= len(columns) * target - 1 and len(columns) < number:
            columns.append([])
        columns[-1].append(line)
    return columns


def _pitch(n_lines: int) -> float:
    if n_lines <= 16:  # noqa: PLR2004
        return 0.21
    return 0.165 if n_lines <= 40 else 0.108  # noqa: PLR2004


def _draw(axes: Axes, lines: Sequence[_Line], pitch: float, look: Look) -> None:
    size = min(7.5, 55 * pitch)
    grid_lines(axes, "x")
    for place, line in enumerate(lines):
        if line.dot is not None:
            _draw_dot(axes, place, line.dot, size, look)
            text = _told(line.dot)
            mark_row(axes, place, key=line.dot.group.label, text=text)
        elif place:
            axes.axhline(place - 0.5, color="#c3c8cf", linewidth=0.5)
    name_rows(axes, [line.label for line in lines], size)
    for tick, line in zip(axes.get_yticklabels(), lines, strict=True):
        tick.set_fontweight("bold" if line.dot is None else "normal")
    axes.tick_params(axis="x", top=True, labeltop=len(lines) > _HEADINGS_FROM, labelsize=7)


def _told(dot: GroupRow) -> str:
    """The numbers of a group, in words."""
    if dot.estimate is None:
        return f"not measured: {dot.reason}" if dot.reason else "not measured"
    parts = [format_estimate(dot.estimate)]
    if dot.n != dot.estimate.n:
        parts.append(f"images: {count(dot.n)}")
    if dot.by_chance is not None:
        parts.append(f"by chance {guess(dot.by_chance)}")
    if dot.shrunk is not None:
        parts.append(f"stabilised {format_estimate(dot.shrunk)}")
    return "; ".join(parts)


def _draw_dot(axes: Axes, place: int, dot: GroupRow, size: float, look: Look) -> None:
    beside = axes.get_yaxis_transform()
    count = f"n {dot.n}" if dot.n else ""
    axes.text(1.01, place, count, transform=beside, va="center", fontsize=size - 0.6, color=MUTED)
    if dot.shrunk is not None:
        axes.plot(
            [dot.shrunk.value], [place], marker="D", markersize=size / 1.7,
            markerfacecolor="none", markeredgecolor=INK, markeredgewidth=0.8, zorder=3,
        )  # fmt: skip
    if dot.estimate is None:
        text = shortened(dot.reason or "not measured", 40)
        axes.text(
            0.01, place, text, transform=beside, va="center", fontsize=size - 0.6, color=MUTED,
            style="italic",
        )  # fmt: skip
        return
    if dot.by_chance is not None:
        axes.plot(
            [dot.by_chance], [place], marker="|", markersize=1.25 * size, markeredgewidth=1.3,
            color=CONTROL, zorder=1.5,
        )  # fmt: skip
    draw_dot(axes, place, dot.estimate, look.colour, size=size / 1.9, marker=look.marker)


def _limits(dots: Sequence[GroupRow], chance: float | None) -> tuple[float, float]:
    ends = [end for dot in dots if (e := dot.estimate) for end in (e.lower, e.upper)]
    ends += [] if chance is None else [chance]
    ends += [dot.by_chance for dot in dots if dot.estimate and dot.by_chance is not None]
    ends += [dot.shrunk.value for dot in dots if dot.shrunk]
    low, high = min(ends), max(ends)
    room = 0.04 * ((high - low) or 1.0)
    from_zero = 0 <= low < 0.35 * high
    return (0.0 if from_zero else low) - room, high + room


DRAWING = Drawing(group_table, keys=lambda block: group_heading([row.group for row in block.rows]))

"""Which curves a zoo's report compares, their order, and a small panel for each backbone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bias_audit.arrays import FloatArray
from bias_audit.report.figures.marks import add_mark
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import INK, RULE, WIDTH, Palette, shortened
from bias_audit.report.page import Drawn, Section, paragraphs
from bias_audit.results.history.reading import Backbone, History, Peak

Span = tuple[float, float]

MOST: Final = 24
"""Panels of one figure; with more, the eye compares none."""
_COLUMNS: Final = 4
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.5, 0.1, 0.24, 0.42
_TALL, _GAP_X, _GAP_Y = 0.92, 0.14, 0.3
_AXIS: Final = "#9aa0a9"


@dataclass(frozen=True)
class Panels:
    """Where each panel lies, in inches."""

    figure: Figure
    axes: Axes
    x_limits: Span
    y_limits: Span
    corners: tuple[tuple[float, float], ...]
    """Lower left corner of each panel."""
    wide: float

    def x(self, place: int, values: Sequence[float] | FloatArray) -> FloatArray:
        """Across a panel."""
        low, high = self.x_limits
        return self.corners[place][0] + (np.asarray(values) - low) / (high - low) * self.wide

    def y(self, place: int, values: Sequence[float] | FloatArray) -> FloatArray:
        """Up a panel."""
        low, high = self.y_limits
        return self.corners[place][1] + (np.asarray(values) - low) / (high - low) * _TALL

    def mark(self, place: int, x: Span, *, key: str, text: str) -> None:
        """Put a mark as high as a panel between two places on its horizontal axis."""
        left, right = (float(value) for value in self.x(place, x))
        bottom = self.corners[place][1]
        bounds = (left, bottom, right, bottom + _TALL)
        add_mark(self.axes, self.axes.transData, bounds, key=key, text=text)


def panels(
    titles: Sequence[str],
    *,
    x_limits: Span,
    y_limits: Span,
    x_ticks: Sequence[tuple[float, str]],
    x_label: str,
    y_label: str,
) -> Panels:
    """Empty panels in rows of four, which share their limits and labels.

    They are laid out by hand within one pair of axes, whose unit is the inch: matplotlib's own
    subplots take ten times as long, and an overview has hundreds.
    The first tick is written to the right of its place, the last to the left.
    """
    columns = min(_COLUMNS, max(2, len(titles)))
    rows = math.ceil(len(titles) / columns)
    wide = (WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAP_X) / columns
    height = rows * _TALL + (rows - 1) * _GAP_Y + _TOP + _BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    corners = tuple(
        (
            _LEFT + (place % columns) * (wide + _GAP_X),
            height - _TOP - _TALL - (place // columns) * (_TALL + _GAP_Y),
        )
        for place in range(len(titles))
    )
    found = Panels(figure, axes, x_limits, y_limits, corners, wide)
    _frames(found, columns)
    for (left, bottom), title in zip(corners, titles, strict=True):
        axes.text(left, bottom + _TALL + 0.04, shortened(title, 26), fontsize=7.5, va="bottom")
    for place in range(max(0, len(titles) - columns), len(titles)):
        _x_ticks(found, place, x_ticks)
    axes.text(WIDTH / 2, 0.05, x_label, ha="center", va="bottom", fontsize=7.5, color=INK)
    turned: dict[str, Any] = {
        "rotation": 90,
        "ha": "left",
        "va": "center",
        "fontsize": 7.5,
        "color": INK,
    }
    axes.text(0.02, (height + _BOTTOM - _TOP) / 2, y_label, **turned)
    return found


def _frames(found: Panels, columns: int) -> None:
    """Grid lines, axes, and the values beside the first panel of each row."""
    low, high = found.y_limits
    ticks = [float(t) for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    grid, frame = [], []
    for place, (left, bottom) in enumerate(found.corners):
        heights = found.y(place, ticks).tolist()
        grid += [[(left, y), (left + found.wide, y)] for y in heights]
        frame.append([(left, bottom + _TALL), (left, bottom), (left + found.wide, bottom)])
        if place % columns == 0:
            for tick, y in zip(ticks, heights, strict=True):
                at: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 6.5}
                found.axes.text(left - 0.05, y, f"{tick:g}", **at)
    _lines(found.axes, grid, RULE)
    _lines(found.axes, frame, _AXIS)


def joined(runs: Iterable[FloatArray]) -> FloatArray:
    """Many lines as one, which breaks between them: each artist costs as much as its points."""
    parts = [part for run in runs for part in (run, np.array([math.nan]))]
    return np.concatenate(parts) if parts else np.empty(0)


def _lines(axes: Axes, runs: Sequence[Sequence[tuple[float, float]]], colour: str) -> None:
    x, y = (joined(np.array([point[i] for point in run]) for run in runs) for i in (0, 1))
    axes.plot(x, y, color=colour, linewidth=0.6, zorder=0.5)


def _x_ticks(found: Panels, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    bottom = found.corners[place][1]
    for number, (value, label) in enumerate(ticks):
        side = "left" if number == 0 else "right" if number == len(ticks) - 1 else "center"
        x = float(found.x(place, [value])[0])
        found.axes.text(x, bottom - 0.04, label, ha=side, va="top", fontsize=6.5)


@dataclass(frozen=True)
class Question:
    """A quantity of a target on a dataset, for all backbones that have it."""

    dataset: str
    quantity: str
    metric: str
    target: str
    backbones: tuple[Backbone, ...]
    """With a value in their latest audit, the highest value first."""
    is_drawn: bool
    """Whether it gets figures; further quantities have tables only."""

    def key(self, backbone: Backbone) -> tuple[int, str, str]:
        """Of its curve in a history."""
        return backbone.id, self.quantity, self.target

    @property
    def title(self) -> str:
        """Such as "gender on FairFace"."""
        return f"{self.target} on {self.dataset}"


def questions(history: History) -> tuple[Question, ...]:
    """By dataset, quantity and target, in the order of the audits; the first quantity is drawn."""
    return tuple(
        question for dataset in history.datasets for question in _of_dataset(history, dataset)
    )


def _of_dataset(history: History, dataset: str) -> Iterator[Question]:
    here = [each for each in history.latest if each.audit.dataset == dataset]
    numbers = {each.id for each in here}
    points: dict[tuple[str, str], Peak] = {}
    for curve, point in history.highest.items():
        if curve[0] in numbers and point.n_layers > 1:
            points.setdefault((point.quantity, point.target), point)
    first = next((quantity for quantity, _ in points), None)
    for (quantity, target), point in sorted(points.items(), key=lambda e: e[0][0] != first):
        measured = [each for each in here if (each.id, quantity, target) in history.highest]
        yield Question(
            dataset=dataset,
            quantity=quantity,
            metric=point.metric,
            target=target,
            backbones=tuple(
                sorted(
                    measured,
                    key=lambda each: (
                        -history.highest[each.id, quantity, target].estimate.value,
                        each.label,
                    ),
                )
            ),
            is_drawn=quantity == first,
        )


def palette(found: tuple[Question, ...]) -> Palette:
    """One colour per target, the same in all figures."""
    return Palette(tuple(dict.fromkeys(question.target for question in found)))


def curves_section(
    *, title: str, anchor: str, notes: tuple[str, ...], figure: FigureView
) -> Section:
    """A figure with its notes, which the table of contents names."""
    return Section(
        anchor, title, (Drawn(figure), *paragraphs(notes, "note")), look="block", is_listed=True
    )

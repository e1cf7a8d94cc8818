"""The figures of a comparison: differences with intervals and margins, a panel for each target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bias_audit.report.changes.wording import WORDS, format_change, quantity_named
from bias_audit.report.figures.marks import mark_row
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import (
    COLOURS,
    CONTROL,
    INK,
    MUTED,
    RULE,
    WIDTH,
    dotted_line,
    grid_lines,
    name_rows,
    shortened,
    styled,
)
from bias_audit.report.page import Drawn, Fold, Part, Section
from bias_audit.results.differing.shapes import Change, ChangeOutcome
from bias_audit.shapes.printed import counted, sentence, signed_interval
from bias_audit.shapes.shape import Rows

_MOST_COLUMNS: Final = 4
_LOOKS: Final[dict[ChangeOutcome, tuple[str, str]]] = {
    "worse": (COLOURS[1], "v"),
    "improved": (COLOURS[2], "^"),
    "higher": (COLOURS[0], ">"),
    "lower": (COLOURS[3], "<"),
    "undecided": (MUTED, "D"),
    "equivalent": (CONTROL, "o"),
}
"""Colour and marker, so that outcomes can be distinguished without colour."""


@dataclass(frozen=True)
class ForestRow:
    """One difference."""

    label: str
    key: str
    """What a reader selects by."""
    text: str
    """Its numbers in words."""
    change: Change | None
    """None where it could not be compared."""


@dataclass(frozen=True)
class Panel:
    """Rows under one title."""

    title: str
    rows: tuple[ForestRow, ...]


@styled
def forest(panels: Sequence[Panel], *, axis: str) -> Figure:
    """Draw panels with as many rows as each other; those with the same labels share them."""
    n_columns = min(len(panels), _MOST_COLUMNS)
    n_lines = math.ceil(len(panels) / n_columns)
    tallest = max(len(panel.rows) for panel in panels)
    pitch = 0.21 if tallest <= 16 else 0.155  # noqa: PLR2004
    height = n_lines * (pitch * (tallest + 1) + 0.35) + 0.75
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(n_lines, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes, panel in zip(grid.ravel()[: len(panels)], panels, strict=True):
        _draw(axes, panel, min(7.5, 50 * pitch))
    for axes in grid.ravel()[len(panels) :]:
        axes.set_axis_off()
    grid[0, 0].set_ylim(tallest - 0.4, -0.6)
    grid[0, 0].set_xlim(*_limits(panels))
    figure.supxlabel(axis, fontsize=8, color=INK)
    used = [o for o in _LOOKS if any(_outcome(row) == o for p in panels for row in p.rows)]
    handles = [
        Line2D([], [], color=_LOOKS[o][0], marker=_LOOKS[o][1], markersize=4, label=o)
        for o in used
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=6, frameon=False, fontsize=7.5)
    return figure


def _outcome(row: ForestRow) -> ChangeOutcome | None:
    return None if row.change is None else row.change.outcome


def _draw(axes: Axes, panel: Panel, size: float) -> None:
    grid_lines(axes, "x")
    _draw_bands(axes, panel)
    dotted_line(axes, 0)
    for outcome, (colour, marker) in _LOOKS.items():
        rows = [(place, row.change) for place, row in enumerate(panel.rows) if row.change]
        _draw_alike([entry for entry in rows if entry[1].outcome == outcome], axes, colour)
        axes.plot(
            [change.difference.value for _, change in rows if change.outcome == outcome],
            [place for place, change in rows if change.outcome == outcome],
            marker=marker,
            markersize=size / 1.8,
            color=colour,
            linestyle="none",
            zorder=2.5,
        )
    for place, row in enumerate(panel.rows):
        if row.change is None:
            axes.text(
                0, place, "not compared", va="center", ha="center", fontsize=size - 1,
                color=MUTED, style="italic",
            )  # fmt: skip
        mark_row(axes, place, key=row.key, text=row.text)
    name_rows(axes, [shortened(row.label, 40) for row in panel.rows], size)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(shortened(panel.title, 34), fontsize=8.5, loc="left", pad=3)


def _draw_bands(axes: Axes, panel: Panel) -> None:
    """The margin, once for all rows that share it."""
    margins = [row.change.margin if row.change else 0.0 for row in panel.rows]
    for margin in dict.fromkeys(margins):
        at = [place for place, own in enumerate(margins) if own == margin]
        whole = len(at) == at[-1] - at[0] + 1
        for first, last in [(at[0], at[-1])] if whole else [(place, place) for place in at]:
            ends = [first - 0.5, last + 0.5]
            axes.fill_betweenx(ends, -margin, margin, color=RULE, linewidth=0, zorder=0.5)


def _draw_alike(rows: Sequence[tuple[int, Change]], axes: Axes, colour: str) -> None:
    """Intervals of one outcome."""
    if not rows:
        return
    places = [place for place, _ in rows]
    lower, upper = zip(*((c.difference.lower, c.difference.upper) for _, c in rows), strict=True)
    axes.hlines(places, lower, upper, color=colour, linewidth=0.8)
    lower, upper = zip(*(c.equivalence for _, c in rows), strict=True)
    axes.hlines(places, lower, upper, color=colour, linewidth=2.2)


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    changes = [row.change for panel in panels for row in panel.rows if row.change is not None]
    reach = max(
        (max(abs(c.difference.lower), abs(c.difference.upper), 1.2 * c.margin) for c in changes),
        default=1.0,
    )
    return -1.06 * reach, 1.06 * reach


_MOST_ROWS: Final = 48
"""Groups in one figure."""


def change_figures(changes: Sequence[Change], anchor: str) -> Iterator[Part]:
    """One figure per quantity of curves, the lifts of the first, and one per quantity of groups.

    The first is open; the others are folded away.
    """
    curves = [change for change in changes if change.group is None]
    kinds = dict.fromkeys((change.quantity, change.of) for change in curves)
    first = next(iter(kinds), None)
    drawn = (
        [kind for kind in kinds if kind[1] == "estimate" or kind[0] == first[0]] if first else []
    )
    for place, (quantity, of) in enumerate(drawn):
        members = [c for c in curves if (c.quantity, c.of) == (quantity, of)]
        name = ("lift of " if of == "lift" else "") + quantity_named(quantity)
        yield _figure(
            f"{anchor}-{quantity.replace('_', '-')}-{of}",
            f"{sentence(name)} by layer",
            _by_target(members),
            heading="attribute / layer",
            is_main=place == 0,
        )
    groups = [change for change in changes if change.group is not None]
    for quantity in dict.fromkeys(change.quantity for change in groups):
        members = [change for change in groups if change.quantity == quantity]
        shown = _shown(members)
        name = sentence(quantity_named(quantity))
        note = f": the {len(shown)} clearest changes of {len(members)}"
        yield _figure(
            f"{anchor}-{quantity.replace('_', '-')}-groups",
            f"{name} by group{note if len(shown) < len(members) else ''}",
            (_of_groups(name, shown),),
            heading="group",
            is_main=False,
        )


def _shown(members: Sequence[Change]) -> list[Change]:
    by_p = sorted(members, key=lambda change: 1.0 if change.p_value is None else change.p_value)
    kept = {id(change) for change in by_p[:_MOST_ROWS]}
    return [change for change in members if id(change) in kept]


def _by_target(members: Sequence[Change]) -> tuple[Panel, ...]:
    """A panel per target, all with the same layers."""
    layers = list(dict.fromkeys(change.layer for change in members))
    panels = []
    for target in dict.fromkeys(change.target for change in members):
        known = {change.layer: change for change in members if change.target == target}
        rows = (_row(layer, f"{target} / {layer}", known.get(layer)) for layer in layers)
        panels.append(Panel(target, tuple(rows)))
    return tuple(panels)


def _of_groups(name: str, members: Sequence[Change]) -> Panel:
    return Panel(
        name,
        tuple(
            _row(f"{c.target}: {c.group}" if c.group else c.target, c.group or c.target, c)
            for c in members
        ),
    )


def _row(label: str, key: str, change: Change | None) -> ForestRow:
    text = "not compared" if change is None else format_change(change)
    return ForestRow(label, key, text, change)


def _figure(
    anchor: str, title: str, panels: tuple[Panel, ...], *, heading: str, is_main: bool
) -> Part:
    changes = [row.change for panel in panels for row in panel.rows if row.change is not None]
    level = changes[0].difference.level
    caption = (
        f"AFTER minus BEFORE. Thin line: {100 * level:g} % interval; thick: the "
        f"{100 * (2 * level - 1):g} % interval, to compare with the margin (grey band). "
        "Marker and colour show the outcome."
    )
    figure = FigureView(
        make=partial(forest, panels, axis="difference, AFTER minus BEFORE (grey band: margin)"),
        rows=partial(change_rows, changes),
        alt=_alt(title, changes),
        caption=caption,
        anchor=anchor,
        heading=heading,
    )
    if is_main:
        return Section(anchor, title, (Drawn(figure),))
    return Fold(f"Figure: {title}", (Drawn(figure),))


def _alt(title: str, changes: Sequence[Change]) -> str:
    largest = max(changes, key=lambda change: abs(change.difference.value))
    outcomes = dict.fromkeys(change.outcome for change in changes)
    counts = ", ".join(f"{sum(c.outcome == o for c in changes)} {WORDS[o]}" for o in outcomes)
    group = "" if largest.group is None else f", {largest.group}"
    return (
        f"Forest plot of differences, {title}: {counted(len(changes), 'number')}, {counts}. "
        f"Largest: {largest.target} at {largest.layer}{group}, "
        f"{signed_interval(largest.difference)}."
    )


def change_rows(changes: Sequence[Change]) -> Rows:
    """The numbers behind changes, in full."""
    rows: Rows = [
        (
            "backbone", "quantity", "of", "target", "layer", "group", "before", "after",
            "difference", "lower", "upper", "level", "equivalence_lower", "equivalence_upper",
            "noise", "p_value", "adjusted_p", "margin", "better", "outcome", "paired", "identical",
        )
    ]  # fmt: skip
    rows += [
        (
            c.backbone, c.quantity, c.of, c.target, c.layer, c.group, c.before.value,
            c.after.value, c.difference.value, c.difference.lower, c.difference.upper,
            c.difference.level, *c.equivalence, c.noise, c.p_value, c.adjusted_p, c.margin,
            c.better, c.outcome, int(c.paired), int(c.identical),
        )
        for c in changes
    ]  # fmt: skip
    return rows

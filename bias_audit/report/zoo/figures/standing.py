"""Backbones one below the other: their highest value over the layers, and that of the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.marks import add_mark
from bias_audit.report.figures.style import CONTROL, INK, WIDTH, grid_lines, shortened, styled
from bias_audit.results.history.reading import Point
from bias_audit.shapes.printed import guess, interval, signed_interval, told
from bias_audit.statistics.estimate import Estimate

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


@styled
def standing_figure(rows: Sequence[Dots], *, metric: str, colour: str) -> Figure:
    """Draw backbones from the highest value to the lowest.

    Args:
        rows: In that order; at least one.
        metric: Name of the horizontal axis.
        colour: Of the target.
    """
    pitch = 0.235 if len(rows) <= 30 else 0.17  # noqa: PLR2004
    figure = Figure(figsize=(WIDTH, pitch * (len(rows) + 1) + 0.62), layout="constrained")
    axes = figure.subplots()
    grid_lines(axes, "x")
    for place, row in enumerate(rows):
        _draw(axes, place, row, colour)
    chance = rows[0].highest.chance
    if chance is not None:
        axes.axvline(chance, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [shortened(row.label, 36) for row in rows], fontsize=7.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    ranks = axes.secondary_yaxis("right")
    ranks.set_yticks(range(len(rows)), [row.ranks for row in rows], fontsize=7)
    ranks.tick_params(length=0)
    ranks.spines["right"].set_visible(False)
    ranks.set_ylabel("ranks left open", fontsize=7, color=INK)
    guessing = "" if chance is None else f"; dotted: chance, {guess(chance)}"
    axes.set_xlabel(
        f"{metric}\nfilled: highest over the layers; hollow: last layer; grey tick: strongest "
        f"control of the former{guessing}",
        fontsize=7.5,
    )
    return figure


def _draw(axes: Axes, place: int, row: Dots, colour: str) -> None:
    _dot(axes, place - 0.14, row.highest.estimate, colour, is_filled=True)
    _dot(axes, place + 0.2, row.last.estimate, colour, is_filled=False)
    if row.highest.control is not None:
        y = (place - 0.3, place + 0.02)
        axes.plot([row.highest.control] * 2, y, color=CONTROL, linewidth=1.6)
    text = (
        f"highest, at {row.highest.layer}: {told(row.highest.estimate)}; lift over "
        f"{row.highest.strongest or 'guessing'} "
        f"{signed_interval(row.highest.lift_estimate)}; last layer: "
        f"{interval(row.last.estimate)}; ranks left open: {row.ranks}"
    )
    bounds = (0, place - 0.5, 1, place + 0.5)
    add_mark(axes, axes.get_yaxis_transform(), bounds, key=row.label, text=text)


def _dot(axes: Axes, y: float, estimate: Estimate, colour: str, *, is_filled: bool) -> None:
    axes.plot([estimate.lower, estimate.upper], [y, y], color=colour, linewidth=1.1)
    axes.plot(
        [estimate.value],
        [y],
        color=colour,
        marker="o",
        markersize=4.4 if is_filled else 3.8,
        markerfacecolor=colour if is_filled else "#ffffff",
        markeredgecolor=colour,
        markeredgewidth=1.0,
        zorder=3,
    )

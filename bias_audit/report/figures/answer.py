"""The bars of a report's first page: how well an attribute can be read, and the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.style import BASELINE, INK, MUTED, RULE, shortened, styled
from bias_audit.statistics.estimate import Estimate

_WIDTH: Final = 2.35
"""Inches."""
_PITCH, _HEAD, _FOOT = 0.2, 0.16, 0.16
"""Inches of a bar, and above and below the bars for words."""


@dataclass(frozen=True)
class Bar:
    """One value with its interval."""

    name: str
    """Printed before the bar; empty where there is only one."""
    estimate: Estimate
    baseline: Estimate | float | None
    """A number where it is known exactly, as guessing is."""

    @property
    def tick(self) -> float | None:
        """Where the baseline is."""
        found = self.baseline
        return found.value if isinstance(found, Estimate) else found


@styled
def bars(
    shown: Sequence[Bar],
    *,
    ends: tuple[float, float],
    names: tuple[str, str],
    tick: str,
    colour: str,
) -> Figure:
    """Draw bars from the left end of an axis, with a tick at the baseline of each.

    Args:
        shown: From top to bottom.
        ends: Values at the ends of the axis.
        names: Printed below the ends.
        tick: Names the baseline of the first bar.
        colour: Of the bars.
    """
    height = _HEAD + _PITCH * len(shown) + _FOOT
    figure = Figure(figsize=(_WIDTH, height))
    left = 0.02 if not any(bar.name for bar in shown) else 0.36
    axes = figure.add_axes((left, _FOOT / height, 0.96 - left, 1 - (_HEAD + _FOOT) / height))
    low, high = ends
    axes.set(xlim=ends, ylim=(len(shown) - 0.5, -0.5))
    axes.set_axis_off()
    for place, bar in enumerate(shown):
        _draw(axes, place, bar, colour)
    below = len(shown) - 0.42
    for value, name, side in ((low, names[0], "left"), (high, names[1], "right")):
        axes.text(value, below, name, ha=side, va="top", fontsize=7, color=MUTED)
    first = shown[0].tick
    if first is not None:
        share = (first - low) / (high - low)
        side = "left" if share < 0.25 else "right" if share > 0.75 else "center"  # noqa: PLR2004
        axes.text(first, -0.55, tick, ha=side, va="bottom", fontsize=7, color=BASELINE)
    return figure


def _draw(axes: Axes, place: int, bar: Bar, colour: str) -> None:
    estimate, (low, high) = bar.estimate, axes.get_xlim()
    axes.hlines(place, low, high, color=RULE, linewidth=0.8, zorder=1)
    axes.barh(
        place, estimate.value - low, left=low, height=0.62, color=colour, alpha=0.8, zorder=2
    )
    ends = (max(estimate.lower, low), min(estimate.upper, high))
    axes.hlines(place, *ends, color=INK, linewidth=1.8, zorder=4)
    if bar.tick is not None:
        axes.vlines(bar.tick, place - 0.48, place + 0.48, color=BASELINE, linewidth=1.6, zorder=3)
    if bar.name:
        axes.text(
            low - 0.02 * (high - low),
            place,
            shortened(bar.name, 17),
            ha="right",
            va="center",
            fontsize=7,
        )

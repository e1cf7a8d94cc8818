"""Layer curves of many backbones side by side, over relative depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from bias_audit.report.figures.style import INK, shortened, styled
from bias_audit.report.numbers import guess, signed_interval, told
from bias_audit.report.zoo.figures.panels import Panels, panels
from bias_audit.results.history.records import Point

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """The layer curve of one backbone."""

    label: str
    depths: tuple[float, ...]
    """Of each point: 0 for the first layer audited, 1 for the last."""
    points: tuple[Point, ...]


@styled
def profiles_figure(
    shown: Sequence[Profile], every: Sequence[Profile], *, metric: str, colour: str
) -> Figure:
    """Draw a panel per backbone, before the range of all.

    Args:
        shown: Which get a panel; at least one.
        every: All, for the range.
        metric: Name of the vertical axis.
        colour: Of the target.
    """
    chance = shown[0].points[0].chance
    guessing = "" if chance is None else f"; dotted: chance, {guess(chance)}"
    bounds = [_bounds(profile) for profile in every]
    found = panels(
        [profile.label for profile in shown],
        x_limits=(-0.03, 1.03),
        y_limits=_limits(bounds, chance),
        x_ticks=((0, "0"), (0.5, "½"), (1, "1")),
        x_label=f"relative depth of the layer (grey: range of {len(every)} backbones{guessing})",
        y_label=shortened(metric, 34),
    )
    grid, low, high = _range(every)
    for place, profile in enumerate(shown):
        across = found.x(place, grid)
        ends = found.y(place, low), found.y(place, high)
        found.axes.fill_between(across, *ends, color="#eceef1", linewidth=0)
        _draw(found, place, profile, colour)
        if chance is not None:
            level = found.y(place, [chance, chance])
            dotted: dict[str, Any] = {"color": INK, "linewidth": 0.7, "linestyle": (0, (1, 2))}
            found.axes.plot(found.x(place, [0, 1]), level, **dotted)
    return found.figure


def _draw(found: Panels, place: int, profile: Profile, colour: str) -> None:
    value, lower, upper = (found.y(place, row) for row in _bounds(profile))
    x = found.x(place, profile.depths)
    found.axes.fill_between(x, lower, upper, color=colour, alpha=0.25, linewidth=0)
    found.axes.plot(x, value, color=colour, linewidth=1.1)
    best = int(np.argmax(value))
    found.axes.plot([x[best]], [value[best]], color=colour, marker="o", markersize=3.4)
    for ends, point in zip(_ends(np.array(profile.depths)), profile.points, strict=True):
        over = f"lift over {point.strongest or 'guessing'} {signed_interval(point.lift)}"
        told_so = f"{point.layer}: {told(point.estimate)}; {over}"
        found.mark(place, ends, key=profile.label, text=told_so)


def _limits(bounds: Sequence[FloatArray], chance: float | None) -> tuple[float, float]:
    """From the lowest bound or chance to the highest, with a little room."""
    low = min(float(each[1].min()) for each in bounds)
    high = max(float(each[2].max()) for each in bounds)
    low = low if chance is None else min(low, chance)
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _bounds(profile: Profile) -> FloatArray:
    estimates = [point.estimate for point in profile.points]
    return np.array([(e.value, e.lower, e.upper) for e in estimates], dtype=np.float64).T


def _range(every: Sequence[Profile]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Lowest and highest value of all curves, between their layers by straight lines."""
    grid = np.linspace(0, 1, 41)
    curves = np.array([np.interp(grid, p.depths, _bounds(p)[0]) for p in every])
    return grid, curves.min(axis=0), curves.max(axis=0)


def _ends(x: FloatArray) -> list[tuple[float, float]]:
    """Every point's share of the axis: to the middle between it and its neighbours."""
    middles = [float(value) for value in (x[1:] + x[:-1]) / 2]
    return list(zip([-0.03, *middles], [*middles, 1.03], strict=True))

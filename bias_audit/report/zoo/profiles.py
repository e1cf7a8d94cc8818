"""Layer curves of the latest audits, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bias_audit.arrays import FloatArray
from bias_audit.report.figures.saving import FigureView
from bias_audit.report.figures.style import INK, Palette, shortened, styled
from bias_audit.report.page import Section
from bias_audit.report.zoo.curves import MOST, Panels, Question, curves_section, joined, panels
from bias_audit.results.history.reading import History, Point
from bias_audit.shapes.printed import (
    counted,
    format_estimate,
    guess,
    interval,
    sentence,
    signed_interval,
)
from bias_audit.shapes.shape import Rows, estimate_cells


@dataclass(frozen=True)
class Profile:
    """The layer curve of one backbone."""

    label: str
    depths: tuple[float, ...]
    """Of each point: 0 for the first layer audited, 1 for the last."""
    points: tuple[Point, ...]


def profiles(question: Question, history: History, colours: Palette, anchor: str) -> Section:
    """Put the layer curves of a question side by side, in the order of their ranks."""
    every = _profiles(question, history)
    shown = every[:MOST]
    colour = colours.colour(question.target)
    notes: tuple[str, ...] = ()
    if len(every) > MOST:
        notes = (
            f"The {MOST} backbones with the highest values are drawn; the range, and the data of "
            f"the figure, include all {len(every)}.",
        )
    alt = _alt(question, every)
    return curves_section(
        title=f"{question.title}: {question.metric}",
        anchor=anchor,
        notes=notes,
        figure=FigureView(
            partial(profiles_figure, shown, every, metric=question.metric, colour=colour),
            partial(_data, every),
            alt=alt,
            caption=f"{sentence(question.metric)} of {question.title} from the first layer "
            "audited to the last, with its interval; a dot marks the highest value.",
            anchor=anchor,
            heading="backbone",
        ),
    )


def _profiles(question: Question, history: History) -> tuple[Profile, ...]:
    found = []
    for backbone in question.backbones:
        points = history.profiles[question.key(backbone)]
        deepest = max(1, backbone.n_layers - 1)
        places = [point.depth if point.depth >= 0 else i for i, point in enumerate(points)]
        depths = tuple(min(1.0, place / deepest) for place in places)
        found.append(Profile(backbone.label, depths, points))
    return tuple(found)


def _alt(question: Question, every: Sequence[Profile]) -> str:
    peaks = []
    for profile in every[:3]:
        best = max(profile.points, key=lambda point: point.estimate.value)
        peaks.append(f"{profile.label} reaches {interval(best.estimate)} at {best.layer}")
    return (
        f"{counted(len(every), 'panel')}, one per backbone: {question.metric} of {question.title} "
        f"over relative depth. {'; '.join(peaks)}. The ranking tables have every highest value."
    )


def _data(every: Sequence[Profile]) -> Rows:
    names = ("value", "lower", "upper", "level", "n")
    rows: Rows = [("backbone", "layer", "relative depth", *names)]
    for profile in every:
        for depth, point in zip(profile.depths, profile.points, strict=True):
            cells = estimate_cells(point.estimate)[:5]
            rows.append((profile.label, point.layer, round(depth, 4), *cells))
    return rows


@styled
def profiles_figure(
    shown: Sequence[Profile], every: Sequence[Profile], *, metric: str, colour: str
) -> Figure:
    """Draw a panel for each backbone shown, before the range of every one."""
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
    places = range(len(shown))
    across = joined(found.x(place, grid) for place in places)
    floor, ceiling = (joined(found.y(place, ends) for place in places) for ends in (low, high))
    found.axes.fill_between(across, floor, ceiling, color="#eceef1", linewidth=0)
    _draw(found, shown, colour)
    if chance is not None:
        x = joined(found.x(place, [0, 1]) for place in places)
        level = joined(found.y(place, [chance, chance]) for place in places)
        found.axes.plot(x, level, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
    return found.figure


def _draw(found: Panels, shown: Sequence[Profile], colour: str) -> None:
    across = [found.x(place, profile.depths) for place, profile in enumerate(shown)]
    bounds_of = [_bounds(profile) for profile in shown]
    value, lower, upper = (
        [found.y(place, bounds[row]) for place, bounds in enumerate(bounds_of)] for row in range(3)
    )
    band: dict[str, Any] = {"color": colour, "alpha": 0.25, "linewidth": 0}
    found.axes.fill_between(joined(across), joined(lower), joined(upper), **band)
    found.axes.plot(joined(across), joined(value), color=colour, linewidth=1.1)
    tops = [(x[np.argmax(y)], np.max(y)) for x, y in zip(across, value, strict=True)]
    dots: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.4}
    found.axes.plot(*np.array(tops).T, color=colour, **dots)
    for place, profile in enumerate(shown):
        for ends, point in zip(_ends(np.array(profile.depths)), profile.points, strict=True):
            over = (
                f"lift over {point.strongest or 'guessing'} {signed_interval(point.lift_estimate)}"
            )
            text = f"{point.layer}: {format_estimate(point.estimate)}; {over}"
            found.mark(place, ends, key=profile.label, text=text)


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

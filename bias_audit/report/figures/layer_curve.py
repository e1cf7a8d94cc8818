"""A metric over the layers, against its controls and chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bias_audit.arrays import FloatArray
from bias_audit.report.figures.drawing import Drawing
from bias_audit.report.figures.marks import add_mark, mark_row
from bias_audit.report.figures.style import (
    CONTROL,
    INK,
    MUTED,
    PLAIN,
    RULE,
    WIDTH,
    Look,
    Palette,
    dotted_line,
    grid_lines,
    name_rows,
    shortened,
    styled,
)
from bias_audit.shapes.layer_curve import (
    Curve,
    CurvePoint,
    LayerCurve,
    control_names,
    strongest_control,
)
from bias_audit.shapes.printed import format_estimate, guess, interval, signed_interval
from bias_audit.shapes.shape import Arrays
from bias_audit.statistics.estimate import Estimate

_LABEL_GAP = 0.145
"""Inches between the names of lines."""
_FEW, _MANY = 10, 24
_OWN_SCALES: Final = ("bits", "validation_accuracy")
_CONTROL_STYLES: Final = (
    ("o", (0, (1.2, 1.2))),
    ("s", (0, (5, 1.5))),
    ("^", (0, (5, 1.5, 1, 1.5))),
    ("v", (0, (3, 1))),
    ("x", "-"),
    ("+", (0, (8, 2))),
)
"""Marker and dashes of each control, so that grey lines differ by more than colour."""


@dataclass(frozen=True)
class End:
    """What is named at the right of a panel, at the height where it ends."""

    value: float
    name: str
    colour: str


@styled
def layer_curve(block: LayerCurve, _arrays: Arrays, palette: Palette = PLAIN) -> Figure:
    """Draw one panel per target with its controls, layers from left to right."""
    measured = [curve for curve in block.curves if _is_measured(curve)]
    layers = layers_of(measured)
    if len(layers) == 1:
        return _dumbbells(block, measured, palette)
    n_columns = _columns(len(measured), len(layers))
    n_rows = math.ceil(len(measured) / n_columns)
    tall = 2.9 if len(measured) == 1 else 1.75
    height = tall * n_rows + _tick_room(layers, n_columns)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    grid = figure.subplots(
        n_rows, n_columns, sharex=True, sharey=_on_one_scale(block, measured), squeeze=False
    )
    every = list(grid.ravel())
    panels = every[: len(measured)]
    order = {curve.target: number for number, curve in enumerate(block.curves)}
    controls = {name: number for number, name in enumerate(control_names(block))}
    for axes, curve in zip(panels, measured, strict=True):
        _draw_controls(axes, curve, layers, controls)
        look = palette.look(curve.target, order[curve.target])
        _draw_estimate(axes, curve, layers, look)
        _mark(axes, curve, layers)
        _finish(axes, block.chance.get(curve.target))
        axes.set_title(shortened(curve.target), fontsize=8.5, loc="left", pad=3)
    for axes in every[len(measured) :]:
        axes.set_axis_off()
    for axes, curve in zip(panels, measured, strict=True):  # once all limits are known
        colour = palette.colour(curve.target, order[curve.target])
        ends = _ends(curve, colour, block.chance.get(curve.target))
        label_ends(axes, ends, _LABEL_GAP / (tall - 0.3))
    for axes in panels[-n_columns:]:
        _layer_ticks(axes, layers, n_columns)
    order_told = ", from input to output" if len(layers) > 1 else ""
    figure.supxlabel(f"layer{order_told}", fontsize=8, color=INK)
    figure.supylabel(_axis_label(block), fontsize=8, color=INK)
    return figure


def _dumbbells(block: LayerCurve, measured: Sequence[Curve], palette: Palette) -> Figure:
    """Draw one layer: a row for each target, from the strongest control to the estimate."""
    figure = Figure(figsize=(WIDTH, 0.34 * len(measured) + 0.95), layout="constrained")
    axes = figure.subplots()
    order = {curve.target: number for number, curve in enumerate(block.curves)}
    for place, curve in enumerate(measured):
        point, look = curve.points[0], palette.look(curve.target, order[curve.target])
        control = strongest_control(point)
        ends = [(control.estimate, CONTROL, "white")] if control else []
        if point.estimate is not None:
            ends.append((point.estimate, look.colour, look.colour))
        axes.plot([e.value for e, _, _ in ends], [place] * len(ends), color=RULE, linewidth=4)
        for estimate, edge, face in ends:
            axes.hlines(place, estimate.lower, estimate.upper, color=edge, linewidth=1.6)
            axes.plot(
                estimate.value, place, look.marker, markersize=6, color=face, markeredgecolor=edge
            )
        mark_row(axes, place, key=point.layer, text=f"{curve.target}: {_told(point)}")
    name_rows(axes, [shortened(curve.target) for curve in measured], 8)
    axes.set_ylim(len(measured) - 0.5, -0.5)
    grid_lines(axes, "x")
    chance = {block.chance.get(curve.target) for curve in measured}
    for value in chance - {None}:
        dotted_line(axes, float(value or 0))
    control = strongest_control(measured[0].points[0])
    hollow = f"; hollow: {control.name}" if control else ""
    dotted = "; dotted: chance" if chance - {None} else ""
    axes.set_xlabel(f"{block.metric} at {layers_of(measured)[0]}{hollow}{dotted}")
    return figure


def layers_of(measured: Sequence[Curve]) -> list[str]:
    """Names of all layers, in order of depth."""
    longest = max(measured, key=lambda curve: len(curve.points))
    return [point.layer for point in longest.points]


def _columns(n_panels: int, n_layers: int) -> int:
    return 1 if n_panels == 1 or n_layers > _MANY else 2


def _axis_label(block: LayerCurve) -> str:
    name = block.metric
    return f"{name[:46]}\n{name[46:]}" if len(name) > 60 else name  # noqa: PLR2004


def _is_measured(curve: Curve) -> bool:
    return any(point.estimate is not None for point in curve.points)


def _on_one_scale(block: LayerCurve, measured: Sequence[Curve]) -> bool:
    """Whether panels can be compared by height: some quantities have another range in each."""
    return (
        block.quantity not in _OWN_SCALES
        and len({block.chance.get(c.target) for c in measured}) == 1
    )


def _points(curve: Curve, layers: Sequence[str]) -> list[CurvePoint | None]:
    by_layer = {point.layer: point for point in curve.points}
    return [by_layer.get(layer) for layer in layers]


def _draw_estimate(axes: Axes, curve: Curve, layers: Sequence[str], look: Look) -> None:
    x = np.arange(len(layers))
    colour = look.colour
    points = _points(curve, layers)
    value, lower, upper = _bounds([point.estimate if point else None for point in points])
    axes.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
    lone = _lone(value)
    axes.vlines(x[lone], lower[lone], upper[lone], color=colour, alpha=0.5, linewidth=1.4)
    axes.plot(
        x,
        value,
        color=colour,
        marker=look.marker,
        markersize=4.2 if len(layers) <= _MANY else 2.8,
        markeredgecolor="white",
        markeredgewidth=0.4,
        label="estimate",
        zorder=3,
    )


def _mark(axes: Axes, curve: Curve, layers: Sequence[str]) -> None:
    """A mark per layer, as high as the panel."""
    for place, (layer, point) in enumerate(zip(layers, _points(curve, layers), strict=True)):
        bounds = (place - 0.5, 0, place + 0.5, 1)
        text = f"{curve.target}: {_told(point)}"
        add_mark(axes, axes.get_xaxis_transform(), bounds, key=layer, text=text)


def _told(point: CurvePoint | None) -> str:
    """The numbers of a layer, in words, with the strongest control; tables hold the others."""
    if point is None or point.estimate is None:
        return "not measured"
    parts = [format_estimate(point.estimate)]
    strongest = strongest_control(point)
    if strongest is not None:
        parts.append(f"{strongest.name} {interval(strongest.estimate)}")
    if point.lift is not None:
        parts.append(f"lift over {point.strongest or 'guessing'} {signed_interval(point.lift)}")
    return "; ".join(parts)


def _lone(values: FloatArray) -> npt.NDArray[np.bool_]:
    """Points without a neighbour, where a band has no width to be seen."""
    there = np.pad(np.isfinite(values), 1)
    return np.asarray(there[1:-1] & ~there[:-2] & ~there[2:])


def _draw_controls(
    axes: Axes, curve: Curve, layers: Sequence[str], names: Mapping[str, int]
) -> None:
    points = _points(curve, layers)
    x = np.arange(len(layers))
    for name, number in names.items():
        found = [_control(point, name) for point in points]
        if not any(found):
            continue
        marker, dashes = _CONTROL_STYLES[number % len(_CONTROL_STYLES)]
        axes.plot(
            x,
            _bounds(found)[0],
            color=CONTROL,
            linestyle=dashes,
            linewidth=0.8,
            marker=marker,
            markersize=2.8 if len(layers) <= _MANY else 2.0,
            markerfacecolor="none",
            markeredgewidth=0.6,
            markevery=1 if len(layers) <= _MANY else 4,
            label=name,
            zorder=2,
        )


def _control(point: CurvePoint | None, name: str) -> Estimate | None:
    controls = point.controls if point else ()
    return next((control.estimate for control in controls if control.name == name), None)


def _bounds(estimates: Sequence[Estimate | None]) -> FloatArray:
    """Value, lower and upper, shape (3, n_layers); NaN, which breaks a line, where missing."""
    missing = (np.nan, np.nan, np.nan)
    rows = [missing if e is None else (e.value, e.lower, e.upper) for e in estimates]
    return np.array(rows, dtype=np.float64).T


def _finish(axes: Axes, chance: float | None) -> None:
    grid_lines(axes, "y")
    axes.margins(x=0.03, y=0.08)
    axes.tick_params(labelleft=True)
    if chance is not None:
        axes.axhline(chance, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)


def _ends(curve: Curve, colour: str, chance: float | None) -> list[End]:
    """What there is to name at the right of a panel."""
    last = [point for point in curve.points if point.estimate is not None][-1]
    ends = [End(c.estimate.value, shortened(c.name, 20), MUTED) for c in last.controls]
    if last.estimate is not None:
        ends.append(End(last.estimate.value, "as annotated", colour))
    if chance is not None:
        ends.append(End(chance, f"chance {guess(chance)}", INK))
    return sorted(ends, key=lambda end: end.value)


def label_ends(axes: Axes, ends: Sequence[End], gap: float) -> None:
    """Write names beside the ends, moved apart where these lie close, with leaders.

    Args:
        axes: With its final limits.
        ends: Lowest first.
        gap: Least distance of two names, as a share of the height.
    """
    low, high = axes.get_ylim()
    heights = [(end.value - low) / (high - low) for end in ends]
    for end, height, place in zip(ends, heights, _spread(heights, gap), strict=True):
        leader = Line2D([1.0, 1.03], [height, place], color=end.colour, linewidth=0.5)
        leader.set(transform=axes.transAxes, clip_on=False, label="_leader")
        axes.add_artist(leader)
        axes.text(
            1.035,
            place,
            end.name,
            transform=axes.transAxes,
            va="center",
            fontsize=7,
            color=end.colour,
        )


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places at least `gap` apart, moved as little as a pass in each direction needs."""
    result: list[float] = []
    for place in places:
        result.append(place if not result else max(place, result[-1] + gap))
    excess = result[-1] - max(1.0, places[-1])
    if excess > 0:
        result[-1] -= excess
        for index in range(len(result) - 2, -1, -1):
            result[index] = min(result[index], result[index + 1] - gap)
    return result


def _rotation(layers: Sequence[str], n_columns: int) -> int:
    room = 80 if n_columns == 1 else 26
    if sum(len(shortened(layer)) + 1 for layer in layers) <= room:
        return 0
    return 90 if len(layers) * n_columns > _FEW else 30


def _tick_room(layers: Sequence[str], n_columns: int) -> float:
    longest = max(len(shortened(layer)) for layer in layers)
    rooms = {0: 0.35, 30: 0.3 + 0.035 * longest, 90: 0.3 + 0.065 * longest}
    return rooms[_rotation(layers, n_columns)]


def _layer_ticks(axes: Axes, layers: Sequence[str], n_columns: int) -> None:
    rotation = _rotation(layers, n_columns)
    axes.set_xticks(
        np.arange(len(layers)),
        [shortened(layer) for layer in layers],
        rotation=rotation,
        ha="right" if rotation == 30 else "center",  # noqa: PLR2004
        rotation_mode="anchor" if rotation == 30 else None,  # noqa: PLR2004
        fontsize=7.5 if len(layers) <= _MANY else 6.2,
    )


DRAWING = Drawing(layer_curve)

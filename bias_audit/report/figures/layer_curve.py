"""A metric over the layers, against its control and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bias_audit.report.figures.style import (
    COLOURS,
    CONTROL,
    DASHES,
    INK,
    MARKERS,
    MUTED,
    WIDTH,
    grid_lines,
    shortened,
    styled,
)
from bias_audit.report.numbers import guess
from bias_audit.results.blocks import Curve, LayerCurve
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]
_LABEL_GAP = 0.16
"""Inches between the names of curves."""
_FEW, _MANY = 10, 24


@dataclass(frozen=True)
class _End:
    value: float
    name: str
    colour: str


@styled
def layer_curve(block: LayerCurve, arrays: Mapping[str, npt.NDArray[Any]]) -> Figure:  # noqa: ARG001
    """Draw one panel for the targets that share a chance value, layers from left to right."""
    measured = [curve for curve in block.curves if _is_measured(curve)]
    panels = _panels(measured, block.chance)
    layers = [point.layer for point in max(measured, key=lambda curve: len(curve.points)).points]
    tallest = 2.9 if len(panels) == 1 else 1.55
    height = tallest * len(panels) + _tick_room(layers)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    order = {curve.target: number for number, curve in enumerate(block.curves)}
    for panel, (chance, curves) in zip(axes, panels, strict=True):
        for curve in curves:
            _draw_curve(panel, curve, layers, order[curve.target])
        _finish(panel, chance)
        gap = _LABEL_GAP * len(panels) / (height - _tick_room(layers))
        _label_ends(panel, _ends(curves, order, chance), gap)
    _layer_ticks(axes[-1], layers)
    figure.supylabel(block.metric, fontsize=8, color=INK)
    return figure


def _is_measured(curve: Curve) -> bool:
    return any(point.estimate is not None for point in curve.points)


def _panels(
    curves: Sequence[Curve], chance: Mapping[str, float]
) -> list[tuple[float | None, list[Curve]]]:
    panels: dict[float | None, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(chance.get(curve.target), []).append(curve)
    return list(panels.items())


def _draw_curve(axes: Axes, curve: Curve, layers: Sequence[str], number: int) -> None:
    by_layer = {point.layer: point for point in curve.points}
    points = [by_layer.get(layer) for layer in layers]
    x = np.arange(len(layers))
    dashes = DASHES[number % len(DASHES)]
    control = _bounds([point.control if point else None for point in points])
    axes.fill_between(x, control[1], control[2], color=CONTROL, alpha=0.16, linewidth=0)
    axes.plot(x, control[0], color=CONTROL, linestyle=dashes, linewidth=0.9)
    colour = COLOURS[number % len(COLOURS)]
    value, lower, upper = _bounds([point.estimate if point else None for point in points])
    axes.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
    axes.plot(
        x,
        value,
        color=colour,
        linestyle=dashes,
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.2 if len(layers) <= _MANY else 2.8,
        markeredgecolor="white",
        markeredgewidth=0.4,
    )


def _bounds(estimates: Sequence[Estimate | None]) -> FloatArray:
    """Value, lower and upper, shape (3, n_layers); NaN, which breaks a line, where missing."""
    missing = (np.nan, np.nan, np.nan)
    rows = [missing if e is None else (e.value, e.lower, e.upper) for e in estimates]
    return np.array(rows, dtype=np.float64).T


def _finish(axes: Axes, chance: float | None) -> None:
    grid_lines(axes, "y")
    axes.margins(x=0.02, y=0.08)
    if chance is not None:
        axes.axhline(chance, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))


def _ends(curves: Sequence[Curve], order: Mapping[str, int], chance: float | None) -> list[_End]:
    """What there is to name at the right of a panel."""
    ends = []
    for curve in curves:
        last = [point.estimate for point in curve.points if point.estimate is not None][-1]
        colour = COLOURS[order[curve.target] % len(COLOURS)]
        ends.append(_End(last.value, shortened(curve.target), colour))
    controls = [p.control.value for curve in curves for p in curve.points[-1:] if p.control]
    if controls:
        noun = "controls" if len(controls) > 1 else "control"
        ends.append(_End(float(np.mean(controls)), noun, MUTED))
    if chance is not None:
        ends.append(_End(chance, f"chance {guess(chance)}", INK))
    return sorted(ends, key=lambda end: end.value)


def _label_ends(axes: Axes, ends: Sequence[_End], gap: float) -> None:
    """Write names beside the ends, moved apart where these lie close, with leaders."""
    low, high = axes.get_ylim()
    heights = [(end.value - low) / (high - low) for end in ends]
    for end, height, place in zip(ends, heights, _spread(heights, gap), strict=True):
        axes.annotate(
            end.name,
            (1.0, height),
            xycoords="axes fraction",
            xytext=(1.035, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=end.colour,
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 0.5, "shrinkA": 1},
            annotation_clip=False,
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


def _rotation(layers: Sequence[str]) -> int:
    if len(layers) <= _FEW and sum(map(len, layers)) <= 8 * _FEW:
        return 0
    return 90 if len(layers) > _FEW else 30


def _tick_room(layers: Sequence[str]) -> float:
    longest = max(map(len, layers))
    return {0: 0.35, 30: 0.3 + 0.035 * longest, 90: 0.3 + 0.065 * longest}[_rotation(layers)]


def _layer_ticks(axes: Axes, layers: Sequence[str]) -> None:
    rotation = _rotation(layers)
    axes.set_xticks(
        np.arange(len(layers)),
        [shortened(layer) for layer in layers],
        rotation=rotation,
        ha="right" if rotation == 30 else "center",  # noqa: PLR2004
        rotation_mode="anchor" if rotation == 30 else None,  # noqa: PLR2004
        fontsize=7.5 if len(layers) <= _MANY else 6.2,
    )
    axes.set_xlabel("layer, from input to output")

"""Placing a layer's units in the plane so that units of similar signature are near."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from scipy import stats

from bias_audit.analyses.mapping.layout_quality import (
    BLURS,
    DISPARITY,
    MEASURES,
    RANGES,
    SHRINKS,
    Quality,
)
from bias_audit.arrays import FloatArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.schema import Component, Strict
from bias_audit.config.wording import dotted, problems_of
from bias_audit.results.blocks import (
    Entry,
    RobustnessCurve,
    RobustnessCurves,
    RobustnessPanel,
    RobustnessPoint,
)
from bias_audit.statistics.bootstrap import mean_over_pairs, mean_over_repetitions
from bias_audit.statistics.estimate import Estimate

P = TypeVar("P", bound=Strict)
Distance = Literal["cosine", "euclidean", "correlation"]


@dataclass(frozen=True)
class Layout(Generic[P]):
    """A way to place units."""

    title: str
    params_type: type[P]
    place: Callable[[FloatArray, Distance, np.random.Generator, P], FloatArray]
    """Of signatures, shape (n_units, n_groups), positions in any scale, shape (n_units, 2)."""


def comparable(signatures: FloatArray, distance: Distance) -> FloatArray:
    """Signatures whose Euclidean geometry is that of the distance, shape (n_units, n_groups).

    Rows are centred for the correlation and scaled to length 1 for the correlation and the
    cosine; a silent unit stays 0, which is equally far from all others.
    """
    rows = signatures
    if distance == "correlation":
        rows = rows - rows.mean(axis=1, keepdims=True)
    if distance == "euclidean":
        return rows
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled = np.zeros_like(rows)
    np.divide(rows, length, out=scaled, where=length > _SILENT * length.max(initial=0.0))
    return scaled


_SILENT = 1e-6


def silent_units(signatures: FloatArray) -> npt.NDArray[np.bool_]:
    """Units whose signature is zero for every group, next to the largest one, shape (n_units,)."""
    length = np.linalg.norm(signatures, axis=1)
    return np.asarray(length <= _SILENT * length.max(initial=0.0), dtype=np.bool_)


def pairwise(signatures: FloatArray, distance: Distance) -> npt.NDArray[np.float32]:
    """Distance of every pair of units, shape (n_units, n_units).

    A silent unit has cosine and correlation distance 1 to the others and 0 to silent ones.
    """
    rows = comparable(signatures, distance)
    products = rows @ rows.T
    square = np.diag(products)
    if distance == "euclidean":
        result = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * products, 0))
    else:
        result = np.clip(1 - products, 0, 2)
        silent = square == 0
        result[np.ix_(silent, silent)] = 0
    np.fill_diagonal(result, 0)
    return result.astype(np.float32)


def unit_square(positions: FloatArray) -> FloatArray:
    """Positions scaled to [0, 1] along each axis; 0.5 along an axis without extent."""
    low, extent = positions.min(axis=0), np.ptp(positions, axis=0)
    scaled = np.full_like(positions, 0.5)
    np.divide(positions - low, extent, out=scaled, where=extent > 0)
    return scaled


def known_layout(layout: Component) -> Component:
    """The layout itself, for a validator.

    Raises:
        ValueError: There is no such layout, or it has no such parameters.
    """
    try:
        plugin = LAYOUTS.load(layout.kind)
    except KeyError as error:
        raise ValueError(error.args[0]) from error
    try:
        plugin.params_type.model_validate(layout.params)
    except ValidationError as error:
        problems = problems_of(error, layout.params, plugin.params_type)
        told = "; ".join(f"{dotted(place)}: {message}" for place, message in problems)
        raise ValueError(f"layout {layout.kind}: {told}") from error
    return layout


def place(
    layout: Component, signatures: FloatArray, distance: Distance, rng: np.random.Generator
) -> FloatArray:
    """Positions in the layout's own scale, shape (n_units, 2)."""
    plugin: Layout[Any] = LAYOUTS.load(layout.kind)
    params = plugin.params_type.model_validate(layout.params)
    return plugin.place(signatures, distance, rng, params)


def layout_name(layout: Component, distance: Distance, refine_steps: int) -> str:
    """Such as "UMAP (cosine), refined by 100 steps of particle swarm"."""
    name = f"{LAYOUTS.load(layout.kind).title} ({distance})"
    if refine_steps:
        name += f", refined by {refine_steps} steps of particle swarm"
    return name


RULE = (
    "In every repetition the layouts are ranked by each measure, equals sharing their ranks, and "
    "those without a value coming last. The layout with the lowest mean rank, over measures and "
    "repetitions, is recommended; another is tied with it unless its paired difference in mean "
    "rank is above 0 by a one-sided t test, Bonferroni-adjusted for the number of others. With "
    "the confidence of the intervals, the layout that is best in the long run is the recommended "
    "one or tied with it (Hsu 1984, Annals of Statistics 12:1136-1144)."
)


@dataclass(frozen=True)
class Repeated:
    """One layout, measured in every repetition."""

    name: str
    values: tuple[dict[str, float | None], ...]
    """By repetition, the measures but the disparity."""
    disparities: FloatArray
    """Of every two repetitions, shape (n_repetitions, n_repetitions)."""


def ranked(layouts: list[Repeated], level: float) -> tuple[Entry, ...]:
    """The layouts with intervals and their standing, best mean rank first.

    The mean rank is the first of their values, the measures follow.
    """
    ranks = mean_ranks(np.stack([_table(layout) for layout in layouts], axis=1))
    order = np.argsort(ranks.mean(axis=0), kind="stable")
    best = ranks[:, order[0]]
    two_sided = 1 - 2 * (1 - level) / max(1, len(layouts) - 1)
    return tuple(
        Entry(
            name=layouts[i].name,
            values=(
                mean_over_repetitions(ranks[:, i], level=level, within=(1, len(layouts))),
                *(_estimate(layouts[i], key, level) for key in MEASURES),
            ),
            standing="recommended" if i == order[0] else _standing(ranks[:, i] - best, two_sided),
        )
        for i in order
    )


def mean_ranks(values: FloatArray) -> FloatArray:
    """Rank of each layout, averaged over the measures, in each repetition; 1 is best.

    Args:
        values: Shape (n_repetitions, n_layouts, n_measures), measures in the order of `MEASURES`;
            NaN where there is none.

    Returns:
        Shape (n_repetitions, n_layouts).
    """
    sign = np.array([-1.0 if m.better == "higher" else 1.0 for m in MEASURES.values()])
    losses = np.where(np.isnan(values), np.inf, values * sign)
    return np.asarray(stats.rankdata(losses, axis=1).mean(axis=2), dtype=np.float64)


def _table(layout: Repeated) -> FloatArray:
    """Shape (n_repetitions, n_measures); the disparity is the mean to the other repetitions."""
    n = len(layout.values)
    apart = layout.disparities.sum(axis=1) / (n - 1)
    rows = [{**values, DISPARITY: apart[i]} for i, values in enumerate(layout.values)]
    return np.array([[row[key] for key in MEASURES] for row in rows], dtype=np.float64)


def _estimate(layout: Repeated, key: str, level: float) -> Estimate | None:
    if key == DISPARITY:
        return mean_over_pairs(layout.disparities, level=level, within=RANGES[key])
    values = [row[key] for row in layout.values]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return mean_over_repetitions(np.array(known), level=level, within=RANGES[key])


def _standing(differences: FloatArray, level: float) -> Literal["tied", "behind"]:
    return "behind" if mean_over_repetitions(differences, level=level).lower > 0 else "tied"


_RANGE = (0.0, np.inf)


def robustness(
    layer: str, layouts: Mapping[str, Sequence[Quality]], level: float
) -> RobustnessCurves:
    """Curves of every layout under both disturbances.

    Args:
        layer: Whose units are placed.
        layouts: Repetitions by name, in the order in which they are listed.
        level: Coverage of the intervals.
    """
    blur = {name: [found.blur for found in repeated] for name, repeated in layouts.items()}
    shrink = {name: [found.shrink for found in repeated] for name, repeated in layouts.items()}
    return RobustnessCurves(
        title=f"Robustness of the maps of {layer}",
        noun="layout",
        layer=layer,
        metric="relative change of the maps",
        panels=(
            _panel("Gaussian blur", "standard deviation, in cells of 100", BLURS, blur, level),
            _panel("shrinking and enlarging", "factor of the side", SHRINKS, shrink, level),
        ),
    )


def _panel(
    disturbance: str,
    strength: str,
    strengths: Sequence[float],
    curves: Mapping[str, Sequence[FloatArray | None]],
    level: float,
) -> RobustnessPanel:
    return RobustnessPanel(
        disturbance=disturbance,
        strength=strength,
        curves=tuple(
            RobustnessCurve(method=name, points=_points(strengths, repeated, level))
            for name, repeated in curves.items()
        ),
    )


def _points(
    strengths: Sequence[float], repeated: Sequence[FloatArray | None], level: float
) -> tuple[RobustnessPoint, ...]:
    """Means over repetitions; none where a repetition has no map."""
    known = [curve for curve in repeated if curve is not None]
    if len(known) < len(repeated):
        return ()
    by_strength = np.stack(known, axis=1)
    return tuple(
        RobustnessPoint(
            strength=float(strength),
            change=mean_over_repetitions(values, level=level, within=_RANGE),
        )
        for strength, values in zip(strengths, by_strength, strict=True)
    )

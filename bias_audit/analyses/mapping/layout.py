"""Places of a layer's units in the plane, and what is drawn over them.

Units of similar signature are near. A layout has no up or left of its own: layouts of the same
units are turned onto each other unit by unit (orthogonal Procrustes, Schoenemann 1966,
Psychometrika 31:1-10), those of different layers by the colours of their maps (Krug, Ratul, Olson
& Stober, arXiv:2204.03528).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Generic, Literal, Self, TypeVar

import numpy as np
from pydantic import Field, ValidationError, field_validator, model_validator
from scipy.interpolate import LinearNDInterpolator
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import Delaunay

from bias_audit.activations.moments import Moments
from bias_audit.analyses.mapping.som_and_swarm import refine
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.arrays import BoolArray, Float32Array, FloatArray, IntArray
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.schema import Component, Strict
from bias_audit.config.wording import dotted, problems_of
from bias_audit.errors import AnalysisError, ExtensionError

P = TypeVar("P", bound=Strict)
Distance = Literal["cosine", "euclidean", "correlation"]
FEWEST_UNITS = 4
SIDE = 100
"""Of a raster, in cells."""
_SILENT = 1e-6
"""Relative length of a signature that counts as 0."""
_LONGEST = 4.0
"""Times the median edge. Longer ones cross gaps between patches, or run along the hull."""
_STEPS = 360
_TIE = 1e-9


@dataclass(frozen=True)
class Layout(Generic[P]):
    """A way to place units."""

    title: str
    params_type: type[P]
    place: Callable[[FloatArray, Distance, np.random.Generator, P], FloatArray]
    """Of signatures, shape (n_units, n_groups), positions in any scale, shape (n_units, 2)."""
    place_on: Callable[[FloatArray, Distance, np.random.Generator, P, str], FloatArray] | None = (
        None
    )
    """The same on a device that a config names; None where no tensors are computed."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings beside it that belong to it, by key."""
    signatures: Callable[[Moments, P], FloatArray] | None = None
    """Of the moments of all positions of the intersections, (n_groups, n_units, n_positions), the
    signatures; None where they are of the means of units."""


def comparable(signatures: FloatArray, distance: Distance) -> FloatArray:
    """Signatures whose Euclidean geometry is that of the distance, shape (n_units, n_groups).

    Rows are centred for the correlation and scaled to length 1 for the correlation and the
    cosine; a silent unit stays 0, which is equally far from all others.
    """
    if distance == "euclidean":
        return signatures
    rows = signatures
    if distance == "correlation":
        rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled = np.zeros_like(rows)
    np.divide(rows, length, out=scaled, where=length > _SILENT * length.max(initial=0.0))
    return scaled


def silent_units(signatures: FloatArray) -> BoolArray:
    """Units whose signature is zero for every group, next to the largest one, shape (n_units,)."""
    length = np.linalg.norm(signatures, axis=1)
    return np.asarray(length <= _SILENT * length.max(initial=0.0), dtype=np.bool_)


def pairwise(signatures: FloatArray, distance: Distance) -> Float32Array:
    """Distance of every pair of units, shape (n_units, n_units).

    A silent unit has cosine and correlation distance 1 to the others and 0 to silent ones.
    """
    rows = comparable(signatures, distance)
    products = rows @ rows.T
    square = np.diag(products)
    if distance == "euclidean":  # |a - b|^2 = |a|^2 + |b|^2 - 2 a b, 0 or more but for rounding
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
    except (KeyError, ExtensionError) as error:
        raise ValueError(error.args[0]) from error
    try:
        plugin.params_type.model_validate(layout.params)
    except ValidationError as error:
        problems = problems_of(error, layout.params, plugin.params_type)
        listed = "; ".join(f"{dotted(place)}: {message}" for place, message in problems)
        raise ValueError(f"layout {layout.kind}: {listed}") from error
    return layout


def place(
    layout: Component,
    signatures: FloatArray,
    distance: Distance,
    rng: np.random.Generator,
    *,
    device: str = "cpu",
) -> FloatArray:
    """Positions in the layout's own scale, shape (n_units, 2)."""
    plugin: Layout[Any] = LAYOUTS.load(layout.kind)
    params = plugin.params_type.model_validate(layout.params)
    if plugin.place_on is not None:
        return plugin.place_on(signatures, distance, rng, params, device)
    return plugin.place(signatures, distance, rng, params)


def layout_name(layout: Component, distance: Distance, refine_steps: int) -> str:
    """Such as "UMAP (cosine), refined by 100 steps of particle swarm"."""
    name = f"{LAYOUTS.load(layout.kind).title} ({distance})"
    if refine_steps:
        name += f", refined by {refine_steps} steps of particle swarm"
    return name


@dataclass(frozen=True)
class Plane:
    """Where the units of a layer lie."""

    layer: str
    number: int
    """Of the layer, among those drawn."""
    layout: str
    """How units were placed."""
    positions: FloatArray
    """Shape (n_units, 2), in [0, 1]."""
    n_silent: int
    is_published: bool = False
    """Whether all positions of feature maps place the units, which headings then say."""

    @property
    def key(self) -> str:
        """Under which the positions are stored."""
        return f"layer{self.number}-positions"


class LayoutSettings(ProbeSettings):
    """How units are placed; the settings of probes choose the layer where none is named."""

    layout: Component = Field(
        default=Component(kind="tsne"), description="How units are placed, and its parameters."
    )
    distance: Distance = Field(default="cosine", description="Between the signatures of units.")
    refine_steps: int = Field(
        default=100,
        ge=0,
        le=10_000,
        description="Steps of the particle swarm that spreads units over a disc; 0: none.",
    )

    @field_validator("layout")
    @classmethod
    def _known(cls, layout: Component) -> Component:
        return known_layout(layout)

    @model_validator(mode="after")
    def _settings_of_the_layout(self) -> Self:
        for key, value in LAYOUTS.load(self.layout.kind).settings.items():
            if key in self.model_fields_set and getattr(self, key) != value:
                raise ValueError(
                    f"{key}: layout {self.layout.kind} has {value}, got {getattr(self, key)}; "
                    f"leave {key} out, or choose another layout"
                )
            object.__setattr__(self, key, value)
        return self

    @property
    def reads_positions(self) -> bool:
        """Whether units are placed by all positions of their feature maps."""
        return LAYOUTS.load(self.layout.kind).signatures is not None


def placed(
    layer: str,
    number: int,
    signatures: FloatArray,
    settings: LayoutSettings,
    rng: np.random.Generator,
    *,
    device: str = "cpu",
) -> Plane:
    """Place units of some signatures, shape (n_units, n_groups), so that like ones are near.

    Raises:
        AnalysisError: There are too few groups or units, or no unit differs between groups.
    """
    n_units, n_groups = signatures.shape
    if n_groups < 2 or n_units < FEWEST_UNITS:  # noqa: PLR2004
        raise AnalysisError(
            f"layer {layer}: a map needs images in two groups and {FEWEST_UNITS} units, "
            f"got {n_groups} and {n_units}; widen the sampling, or name another layer"
        )
    silent = silent_units(signatures)
    if silent.all():
        raise AnalysisError(
            f"layer {layer}: every group has the same mean activations, so there is nothing to "
            "draw; check the weights, or name another layer"
        )
    start = place(settings.layout, signatures, settings.distance, rng, device=device)
    positions = unit_square(refine(start, settings.refine_steps, rng, device=device))
    name = layout_name(settings.layout, settings.distance, settings.refine_steps)
    return Plane(
        layer, number, name, positions, int(silent.sum()), is_published=settings.reads_positions
    )


def align_units(positions: FloatArray, reference: FloatArray) -> FloatArray:
    """Turn a layout so that its units lie as near as can be to where the reference has them.

    Positions are those of the same units in the same order, shape (n_units, 2); the result lies
    about the reference's centre, in the layout's own size.

    Raises:
        ValueError: There are not as many units in both.
    """
    if positions.shape != reference.shape:
        raise ValueError(
            f"expected positions of the same units, got {positions.shape} and {reference.shape}"
        )
    own, theirs = (places - places.mean(axis=0) for places in (positions, reference))
    turn, _ = orthogonal_procrustes(own, theirs)
    return np.asarray(own @ turn + reference.mean(axis=0), dtype=np.float64)


def align_colours(
    positions: FloatArray, values: FloatArray, reference: FloatArray, theirs: FloatArray
) -> FloatArray:
    """Turn a layout so that its maps of groups look as much as can be like the reference's.

    Tried are 360 rotations and their mirror images, about the middle of the unit square. Looking
    alike is the cosine, over all units and groups, of the values and what the reference's maps,
    interpolated linearly, show at the places of the units. The first of the best is taken, the
    layout as it is before others.

    Positions are in [0, 1], shape (n_units, 2), those of the reference not on one line; values are
    contrasts of the same groups, shape (n_groups, n_units).

    Raises:
        ValueError: The groups are not the same number.
    """
    if len(values) != len(theirs):
        raise ValueError(
            f"expected values of the same groups, got {len(values)} and {len(theirs)}"
        )
    known = np.isfinite(values).all(axis=1) & np.isfinite(theirs).all(axis=1)
    own = values[known]
    drawn = LinearNDInterpolator(Delaunay(reference), theirs[known].T, fill_value=0.0)
    best, chosen = -np.inf, positions
    for mirror, angle in product((1.0, -1.0), 2 * np.pi * np.arange(_STEPS) / _STEPS):
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[mirror * cosine, mirror * sine], [-sine, cosine]])
        turned = (positions - 0.5) @ turn + 0.5
        shown = drawn(turned).T
        length = float(np.linalg.norm(own) * np.linalg.norm(shown))
        likeness = float((own * shown).sum()) / length if length > 0 else 0.0
        if likeness > best + _TIE:
            best, chosen = likeness, turned
    return np.asarray(chosen, dtype=np.float64)


def raster_cells() -> FloatArray:
    """Places of a raster's cells in the unit square, row after row from the bottom, (10000, 2)."""
    axis = np.linspace(0, 1, SIDE)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


def rasters(positions: FloatArray, values: FloatArray) -> Float32Array:
    """Interpolate linearly between units, over one triangulation for all groups.

    Units lie in [0, 1], (n_units, 2), not all on one line; values have shape (n_groups, n_units),
    and rows of NaN stay NaN. The result has shape (n_groups, 100, 100), row 0 at the bottom; it is
    0 outside the units' convex hull.

    Raises:
        scipy.spatial.QhullError: The units lie on one line, or are fewer than three.
    """
    present = np.isfinite(values).all(axis=1)
    interpolate = LinearNDInterpolator(Delaunay(positions), values[present].T, fill_value=0.0)
    result = np.full((len(values), SIDE, SIDE), np.nan, dtype=np.float32)
    result[present] = interpolate(raster_cells()).T.reshape(-1, SIDE, SIDE)
    return result


def neighbours(positions: FloatArray) -> IntArray:
    """Edges of the Delaunay triangulation of the units, without its long ones.

    Positions have shape (n_units, 2); units may share a place. Edges are pairs of units, the
    smaller first, each once, shape (n_edges, 2).

    Raises:
        scipy.spatial.QhullError: The units lie on one line, or are fewer than three.
    """
    places, unit_of = np.unique(positions, axis=0, return_inverse=True)
    triangles = Delaunay(places).simplices
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    lengths = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    pairs = pairs[lengths <= _LONGEST * np.median(lengths)]
    # From edges between places to edges between units: those of one place form a chain.
    place_of = unit_of.reshape(-1)
    order = np.argsort(place_of, kind="stable")
    first = order[np.searchsorted(place_of[order], np.arange(len(places)))]
    same = place_of[order[1:]] == place_of[order[:-1]]
    chain = np.stack([order[:-1][same], order[1:][same]], axis=1)
    edges = np.sort(np.concatenate([first[pairs], chain]), axis=1)
    return np.asarray(np.unique(edges, axis=0), dtype=np.int64)

"""Topographic activation maps: group profiles drawn over one layout of a layer's units.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, field_validator

from bias_audit.analyses.analysis import Analysis, Outcome, Subject
from bias_audit.analyses.mapping.layout import Distance, Layout, silent_units, unit_square
from bias_audit.analyses.mapping.particle_swarm import refine
from bias_audit.analyses.mapping.profiles import Profiles, attribute_targets, profiles
from bias_audit.analyses.mapping.raster import rasters
from bias_audit.analyses.probing.probes import ProbeSettings, too_few_images
from bias_audit.analyses.probing.separability import (
    check_layers,
    most_separable_layer,
    unknown_layers,
)
from bias_audit.analyses.targets import finest_target
from bias_audit.config.catalog import LAYOUTS
from bias_audit.config.schema import Component
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import UnitMap

FloatArray = npt.NDArray[np.float64]

_FEWEST_UNITS = 4
_LIMIT_QUANTILE = 0.99


class Params(ProbeSettings):
    """Which layers are drawn, and how units are placed."""

    layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Default: the layer at which intersections separate best.",
    )
    layout: Component = Field(
        default=Component(kind="umap"), description="How units are placed, and its parameters."
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
        try:
            plugin = LAYOUTS.load(layout.kind)
        except KeyError as error:
            raise ValueError(error.args[0]) from error
        try:
            plugin.params_type.model_validate(layout.params)
        except ValidationError as error:
            raise ValueError(f"layout {layout.kind}: {error}") from error
        return layout


@dataclass(frozen=True)
class _Plane:
    """Where the units of a layer lie."""

    layer: str
    number: int
    layout: str
    positions: FloatArray
    n_silent: int


def topomap(subject: Subject, params: Params) -> Outcome:
    """Draw the marginal groups and the intersections of each layer over one layout.

    Raises:
        AnalysisError: A layer is unknown, none can be chosen, or one cannot be drawn.
    """
    if params.layers is not None:
        layers, chosen = check_layers(subject, params.layers), "named in the config"
    else:
        layer, chosen = most_separable_layer(subject, params.probes)
        layers = (layer,)
    blocks: list[UnitMap] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    title = f"Topographic maps of {subject.name}"
    with subject.progress.step(title, total=len(layers), unit="layer") as step:
        for number, layer in enumerate(layers):
            drawn, values = _of_layer(subject, layer, number, params)
            blocks += drawn
            arrays |= values
            step.advance()
    return Outcome(
        blocks=tuple(blocks), arrays=arrays, method=_method(blocks, chosen), limits=_limits(blocks)
    )


def _of_layer(
    subject: Subject, layer: str, number: int, params: Params
) -> tuple[list[UnitMap], dict[str, npt.NDArray[Any]]]:
    cells = profiles(subject, layer, finest_target(subject.faces.table))
    plane = _plane(subject, layer, number, cells, params)
    marginal = [profiles(subject, layer, target) for target in attribute_targets(subject)]
    kinds = [("marginal", "Levels of every attribute", marginal)]
    if len(marginal) > 1:
        kinds.append(("intersections", "All intersections", [cells]))
    limit = _limit([part for _, _, parts in kinds for part in parts])
    position_key = f"layer{number}-positions"
    blocks, arrays = [], {position_key: plane.positions.astype(np.float32)}
    for kind, title, parts in kinds:
        values = np.concatenate([part.contrasts for part in parts])
        keys = f"layer{number}-{kind}-values", f"layer{number}-{kind}-rasters"
        arrays |= {keys[0]: values.astype(np.float32), keys[1]: rasters(plane.positions, values)}
        blocks.append(
            UnitMap(
                title=f"{title} at {layer}",
                layer=layer,
                layout=plane.layout,
                n_units=values.shape[1],
                n_silent=plane.n_silent,
                groups=tuple(group for part in parts for group in part.groups),
                counts=tuple(int(n) for part in parts for n in part.counts),
                limit=limit,
                positions=position_key,
                values=keys[0],
                rasters=keys[1],
            )
        )
    return blocks, arrays


def _plane(subject: Subject, layer: str, number: int, cells: Profiles, params: Params) -> _Plane:
    n_groups = int((cells.counts > 0).sum())
    n_units = cells.means.shape[1]
    if n_groups < 2 or n_units < _FEWEST_UNITS:  # noqa: PLR2004
        raise AnalysisError(
            f"layer {layer}: a map needs images in two groups and {_FEWEST_UNITS} units, "
            f"got {n_groups} and {n_units}; widen the sampling, or name another layer"
        )
    signatures = cells.contrasts[cells.counts > 0].T
    silent = silent_units(signatures)
    if silent.all():
        raise AnalysisError(
            f"layer {layer}: every group has the same mean activations, so there is nothing to "
            "draw; check the weights, or name another layer"
        )
    plugin: Layout[Any] = LAYOUTS.load(params.layout.kind)
    options = plugin.params_type.model_validate(params.layout.params)
    rng = subject.rng("layout", layer)
    positions = plugin.place(signatures, params.distance, rng, options)
    name = f"{plugin.title} ({params.distance})"
    if params.refine_steps:
        name += f", refined by {params.refine_steps} steps of particle swarm"
    positions = refine(positions, params.refine_steps, rng)
    return _Plane(layer, number, name, unit_square(positions), int(silent.sum()))


def _limit(parts: list[Profiles]) -> float:
    """One colour limit for all groups of a layer: few units saturate, most are seen."""
    sizes = np.concatenate([np.abs(part.contrasts[part.counts > 0]).ravel() for part in parts])
    limit = float(np.quantile(sizes, _LIMIT_QUANTILE))
    return limit if limit > 0 else float(sizes.max())


def _method(blocks: list[UnitMap], chosen: str) -> tuple[str, ...]:
    where = "; ".join(dict.fromkeys(f"{block.layer}: {block.layout}" for block in blocks))
    return (
        "A topographic map shows a group's profile (mean activation by unit, less the unweighted "
        "mean over groups) at the places of a layer's units. Units lie near each other when they "
        "respond alike to all intersections; the places, and the colour scale, are the same for "
        f"all groups of a layer. Drawn ({chosen}): {where}.",
        "Between units values are interpolated linearly on a 100 x 100 raster; outside the units "
        "a map is 0. Colours end at the 99th percentile of all absolute values.",
    )


def _limits(blocks: list[UnitMap]) -> tuple[str, ...]:
    sentences = [
        "Distances within a topographic map, and the shape of its patches, depend on the layout; "
        "compare the colours of two groups at one place, not the places.",
        "Maps carry no interval: those of small groups are noisier than those of large ones.",
    ]
    for layer, n_silent, n_units in dict.fromkeys(
        (block.layer, block.n_silent, block.n_units) for block in blocks
    ):
        if n_silent:
            sentences.append(
                f"{n_silent} of {n_units} units of {layer} respond alike to every group; where "
                "they lie on the map means nothing."
            )
    return tuple(sentences)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = params.layers
    return (*unknown_layers(asked, layers), *too_few_images(params, faces))


PLUGIN = Analysis(title="Topographic maps", params_type=Params, run=topomap, problems=_problems)

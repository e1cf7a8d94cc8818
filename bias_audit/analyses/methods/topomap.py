"""Topographic activation maps: group profiles drawn over one layout of a layer's units.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject
from bias_audit.analyses.families import map_families
from bias_audit.analyses.mapping.alignment import LayoutSettings, align_plane, placed
from bias_audit.analyses.mapping.difference_sentences import (
    Differences,
    differences_limits,
    differences_method,
    too_few_permutations,
)
from bias_audit.analyses.mapping.differences import comparisons, difference_maps, unknown_levels
from bias_audit.analyses.mapping.earlier import (
    Beside,
    EarlierMaps,
    earlier_limits,
    earlier_maps,
    earlier_method,
    earlier_problems,
    laid_beside,
    most_layers_drawn,
)
from bias_audit.analyses.mapping.group_distances import (
    Halves,
    Shares,
    halves,
    main_effect_shares,
    moments_of,
)
from bias_audit.analyses.mapping.group_maps import Plane, group_maps, share_findings
from bias_audit.analyses.mapping.profiles import (
    Profiles,
    bayesian_weights,
    pooled_deviation,
    profiles,
)
from bias_audit.analyses.probing.probes import too_few_images
from bias_audit.analyses.probing.separability import chosen_layers, unknown_layers
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import Multiplicity, UserPath
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.results.blocks import DifferenceMap, UnitMap


class Params(LayoutSettings):
    """Which layers are drawn, and how units are placed."""

    layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Default: the layer at which intersections separate best, or the layers "
        "that the earlier audit drew.",
    )
    align: bool = Field(
        default=True,
        description="Turn the layout of each further layer so that its maps look like those of "
        "the layer before.",
    )
    earlier: UserPath | None = Field(
        default=None,
        description="The run folder of an earlier audit of the same architecture, whose maps are "
        "to be compared with these: layouts are turned like those there.",
    )
    earlier_backbone: str | None = Field(
        default=None,
        description="Its backbone, by name, where several have the same architecture.",
    )
    places: Literal["own", "earlier"] = Field(
        default="own",
        description="Beside an earlier audit: units are placed anew, and the layout turned like "
        "the one there, or every unit is where it was there.",
    )
    colours: Literal["earlier", "own"] = Field(
        default="earlier",
        description="Beside an earlier audit: colours end where its do, or where these maps need.",
    )
    order: Literal["declared", "dendrogram"] = Field(
        default="declared", description="Of the levels of each attribute on the maps."
    )
    differences: Differences = Differences()
    bootstrap_draws: int = Field(
        default=500, ge=100, le=100_000, description="Draws behind the shares of attributes."
    )
    level: Coverage = 0.95


def topomap(subject: Subject, params: Params) -> Outcome:
    """Draw groups, and differences of groups, of each layer over one layout.

    Raises:
        AnalysisError: A layer or level is unknown, no layer can be chosen, or one cannot be drawn.
    """
    attributes = subject.faces.table.attributes
    for message in unknown_levels(attributes, params.differences.named):
        raise AnalysisError(message)
    earlier = None
    if params.earlier is not None:
        earlier = earlier_maps(subject, params.earlier, params.earlier_backbone)
    layers, chosen = _layers(subject, params, earlier)
    parts: list[Outcome] = []
    plane: Plane | None = None
    title = f"Topographic maps of {subject.name}"
    with subject.progress.step(title, total=len(layers), unit="layer") as step:
        for number, layer in enumerate(layers):
            plane = _plane(subject, layer, number, params, plane)
            beside = None
            if earlier is not None and layer in earlier.layers:
                alpha = subject.multiplicity.alpha / len(layers)
                plane, beside = laid_beside(
                    subject, plane, earlier, alpha=alpha, places=params.places
                )
            parts.append(_of_layer(subject, plane, params, beside))
            step.advance()
    blocks = [block for part in parts for block in part.blocks]
    maps = [block for block in blocks if isinstance(block, UnitMap)]
    tested = [block for block in blocks if isinstance(block, DifferenceMap)]
    return Outcome(
        blocks=(*blocks, *map_families(tested)),
        arrays={key: array for part in parts for key, array in part.arrays.items()},
        findings=tuple(finding for part in parts for finding in part.findings),
        method=(
            *_method(maps, chosen, params),
            *earlier_method(maps, params.places, params.colours),
            *differences_method(tested),
        ),
        limits=(*_limits(maps), *earlier_limits(maps, earlier), *differences_limits(tested)),
    )


def _layers(
    subject: Subject, params: Params, earlier: EarlierMaps | None
) -> tuple[tuple[str, ...], str]:
    """What is drawn, and why that."""
    if earlier is not None and params.layers is None:
        layers = tuple(layer for layer in subject.activations.layers if layer in earlier.layers)
        chosen = "drawn in the earlier audit"
    else:
        layers, chosen = chosen_layers(subject, params.layers, params.probes)
    if earlier is not None and not any(layer in earlier.layers for layer in layers):
        raise AnalysisError(
            f"earlier: expected a layer that both audits have, got {', '.join(layers) or 'none'} "
            f"here and {', '.join(earlier.layers)} in {earlier.folder}; name shared ones with "
            "layers: [...]"
        )
    return layers, chosen


def _split(subject: Subject, params: Params) -> Halves | None:
    return halves(subject) if params.differences.test == "clusters" else None


def _plane(
    subject: Subject, layer: str, number: int, params: Params, before: Plane | None
) -> Plane:
    """The layout of a layer, turned like that of the layer drawn before it."""
    split = _split(subject, params)
    images = np.arange(len(subject.faces)) if split is None else split.placing
    plane = placed(subject, layer, number, moments_of(subject, layer, images), params)
    if before is None or not params.align:
        return plane
    return align_plane(subject, plane, before, images)


def _of_layer(subject: Subject, plane: Plane, params: Params, beside: Beside | None) -> Outcome:
    layer, split = plane.layer, _split(subject, params)
    scale = pooled_deviation(subject.activations.moments(layer))
    cells = profiles(subject, layer, finest_target(subject.faces.table))
    shares = _shares(subject, layer, cells, scale, params)
    shared = beside if params.colours == "earlier" else None
    drawn = group_maps(
        subject,
        plane,
        order=params.order,
        shares=shares,
        earlier=beside.told if beside else None,
        limit=shared.told.limit if shared else None,
    )
    tested = difference_maps(
        subject,
        plane,
        scale,
        params.differences,
        split=split,
        level=params.level,
        limit=shared.difference_limit if shared else None,
    )
    return Outcome(
        blocks=(*drawn.blocks, *tested.blocks),
        arrays={**drawn.arrays, **tested.arrays, plane.key: plane.positions.astype(np.float32)},
        findings=(
            *share_findings(layer, shares, alpha=subject.multiplicity.alpha),
            *tested.findings,
        ),
    )


def _shares(
    subject: Subject, layer: str, cells: Profiles, scale: FloatArray, params: Params
) -> Shares | None:
    if len(subject.faces.table.attributes) < 2:  # noqa: PLR2004
        return None
    return main_effect_shares(
        cells,
        scale,
        subject.activations.units(layer),
        subject.faces.clusters,
        level=params.level,
        weights=bayesian_weights(
            subject.faces.clusters, params.bootstrap_draws, subject.rng("shares")
        ),
    )


def _method(maps: Sequence[UnitMap], chosen: str, params: Params) -> tuple[str, ...]:
    where = "; ".join(dict.fromkeys(f"{block.layer}: {block.layout}" for block in maps))
    half = (
        " Places rest on half of the images, drawn at random, so that the other half can test "
        "differences over a layout that does not know them."
        if params.differences.test == "clusters"
        else ""
    )
    sentences = [
        "A topographic map shows a group's profile (mean activation by unit, less the unweighted "
        "mean over groups) at the places of a layer's units. Units lie near each other when they "
        "respond alike to all intersections; the places, and the colour scale, are the same for "
        f"all groups of a layer.{half} Drawn ({chosen}): {where}.",
        "Between units values are interpolated linearly on a 100 x 100 raster; outside the units "
        "a map is 0. Colours end at the 99th percentile of all absolute values.",
    ]
    if params.align and len({block.layer for block in maps}) > 1:
        sentences.append(
            "The layout of each further layer is turned, and mirrored where that fits better, so "
            "that its maps look as much as can be like those of the layer before; nothing else of "
            "it changes."
        )
    if params.order == "dendrogram":
        sentences.append(
            "Levels of each attribute are in the order of a dendrogram of their profiles "
            "(correlation, average linkage, optimal leaf order), empty ones last."
        )
    if any(block.shares for block in maps):
        sentences.append(
            "An attribute's share is the part of the variance of the profiles of intersections, "
            "each counted once and in standard deviations within intersections, that its main "
            "effect explains beyond those of the others; what sampling noise alone would add is "
            f"subtracted. Intervals: Bayesian bootstrap over clusters of images, "
            f"{params.bootstrap_draws} draws."
        )
    return tuple(sentences)


def _limits(maps: Sequence[UnitMap]) -> tuple[str, ...]:
    sentences = [
        "Distances within a topographic map, and the shape of its patches, depend on the layout; "
        "compare the colours of two groups at one place, not the places.",
        "Maps of groups carry no interval: those of small groups are noisier than those of large "
        "ones.",
    ]
    for layer, n_silent, n_units in dict.fromkeys(
        (block.layer, block.n_silent, block.n_units) for block in maps
    ):
        if n_silent:
            sentences.append(
                f"{n_silent} of {n_units} units of {layer} respond alike to every group; where "
                "they lie on the map means nothing."
            )
    return tuple(sentences)


_PLACES_KNOW = (
    "places: expected own where differences.test is clusters, got earlier; regions are tested on "
    "images that did not place the units, and the earlier audit may have used them; set "
    "differences: {test: max_t}, or {test: none}"
)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    earlier: tuple[str, ...] = ()
    if params.earlier is not None:
        earlier = earlier_problems(params.earlier, params.earlier_backbone, params.layers, layers)
    if params.places == "earlier" and params.differences.test == "clusters":
        earlier = (*earlier, _PLACES_KNOW)
    return (
        *unknown_layers(params.layers, layers),
        *earlier,
        *unknown_levels(faces.attributes, params.differences.named),
        *too_few_images(params, faces),
    )


def _too_few_draws(
    params: Params, plan: Multiplicity, attributes: Sequence[Attribute]
) -> tuple[str, ...]:
    return too_few_permutations(params.differences, plan.alpha, attributes)


def _families(params: Params, attributes: Sequence[Attribute]) -> int:
    """Of each layer: its difference maps, and which attribute moves its maps most.

    And one for whether the layouts of all layers match those of an earlier audit.
    """
    n_layers = 1 if params.layers is None else len(params.layers)
    if params.earlier is not None and params.layers is None:
        n_layers = most_layers_drawn(params.earlier)
    is_tested = params.differences.test != "none"
    n_compared = len(comparisons(attributes, params.differences.named)) if is_tested else 0
    of_layer = (n_compared > 0) + (len(attributes) > 1)
    return n_layers * of_layer + (params.earlier is not None)


def _reads(params: Params) -> tuple[Path, ...]:
    return () if params.earlier is None else (params.earlier,)


PLUGIN = Analysis(
    title="Topographic maps",
    params_type=Params,
    run=topomap,
    problems=_problems,
    too_few_draws=_too_few_draws,
    families=_families,
    reads=_reads,
)

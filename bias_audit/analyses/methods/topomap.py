"""Topographic activation maps: group profiles drawn over one layout of a layer's units.

Source: Krug, Ratul, Olson & Stober, arXiv:2204.03528.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, Outcome, Subject, together
from bias_audit.analyses.families import map_families
from bias_audit.analyses.mapping import map_sentences, profiles
from bias_audit.analyses.mapping.comparisons import (
    Differences,
    comparisons,
    too_few_permutations,
    unknown_levels,
)
from bias_audit.analyses.mapping.differences import difference_maps
from bias_audit.analyses.mapping.earlier import (
    EarlierMaps,
    earlier_maps,
    earlier_problems,
    laid_beside,
    most_layers_drawn,
)
from bias_audit.analyses.mapping.group_distances import main_effect_shares
from bias_audit.analyses.mapping.group_maps import (
    drawn_at_random,
    drawn_moments,
    group_maps,
    plane_of,
    usual_size,
)
from bias_audit.analyses.mapping.layout import LayoutSettings, Plane, align_colours, unit_square
from bias_audit.analyses.probing.separability import (
    LayersSettings,
    chosen_layers,
    setting_problems,
)
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import FloatArray
from bias_audit.config.schema import UserPath
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.results.finding import Finding
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.unit_map import EarlierMap, UnitMap


class Params(LayoutSettings, LayersSettings):
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
        description=(
            "Beside an earlier audit: units are placed again, and the layout turned like the one "
            "there, or every unit is where it was there."
        ),
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
    """Draw groups, and differences of groups, of each layer over one layout."""
    table, alpha = subject.faces.table, subject.multiplicity.alpha
    for message in unknown_levels(table.attributes, params.differences.named):
        raise AnalysisError(message)
    earlier = None
    if params.earlier is not None:
        earlier = earlier_maps(subject, params.earlier, params.earlier_backbone)
    layers, chosen = _layers(subject, params, earlier)
    has_halves = params.differences.test == "clusters"
    split = profiles.halves(subject.faces, subject.rng("halves")) if has_halves else None
    placing = np.arange(len(table)) if split is None else split.placing
    parts: list[Outcome] = []
    before: tuple[Plane, FloatArray] | None = None
    for number, layer in enumerate(subject.counted(layers, "Topographic maps of", unit="layer")):
        plane, half = plane_of(subject, layer, params, number=number, placing=placing)
        colours = np.concatenate(
            [part.contrasts for part in profiles.marginal_profiles(half, table)]
        )
        if before is not None and params.align:
            turned = align_colours(plane.positions, colours, before[0].positions, before[1])
            plane = replace(plane, positions=unit_square(turned))
        beside = None
        if earlier is not None and layer in earlier.layers:
            plane, beside = laid_beside(
                subject, plane, earlier, alpha=alpha / len(layers), places=params.places
            )
        ends: tuple[float | None, float | None] = (None, None)
        if beside is not None and earlier is not None and params.colours == "earlier":
            ends = beside.limit, earlier.layers[layer].difference_limit
        parts.append(_of_layer(subject, plane, params, split=split, beside=beside, ends=ends))
        before = plane, colours
    found = together(parts)
    maps = [block for block in found.blocks if isinstance(block, UnitMap)]
    tested = [block for block in found.blocks if isinstance(block, DifferenceMap)]
    beside_earlier = (
        () if earlier is None else map_sentences.earlier_limits(maps, earlier.run, earlier.groups)
    )
    return replace(
        found,
        blocks=(*found.blocks, *map_families(tested)),
        method=(
            *map_sentences.maps_method(
                maps,
                chosen,
                is_half=split is not None,
                is_aligned=params.align,
                is_dendrogram=params.order == "dendrogram",
                n_draws=params.bootstrap_draws,
            ),
            *map_sentences.earlier_method(maps, params.places, params.colours),
            *map_sentences.differences_method(tested),
        ),
        limits=(
            *map_sentences.maps_limits(maps),
            *beside_earlier,
            *map_sentences.differences_limits(tested),
        ),
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


def _of_layer(
    subject: Subject,
    plane: Plane,
    params: Params,
    *,
    split: profiles.Halves | None,
    beside: EarlierMap | None,
    ends: tuple[float | None, float | None],
) -> Outcome:
    """Maps of groups and of differences; `ends` are those of their colour scales, if given."""
    table, moments = subject.faces.table, subject.activations.moments(plane.layer)
    shares = None
    if len(table.attributes) > 1:
        weights = profiles.bayesian_weights(
            subject.faces.clusters, params.bootstrap_draws, subject.rng("shares")
        )
        cells, sample = (
            profiles.Profiles.of(finest_target(table), moments),
            profiles.Sample.of(subject, plane.layer, weights),
        )
        shares = main_effect_shares(cells, sample, params.level)
    minimum = subject.small_groups.minimum
    # whole clusters, as groups have them
    clusters = subject.faces.clusters
    shuffled = subject.rng("chance", plane.layer).permutation(int(clusters.max()) + 1)
    order = np.argsort(shuffled[clusters], kind="stable")
    at_random = order[: usual_size(moments, minimum)]
    shown = drawn_moments(subject, plane.layer, params)
    drawn = group_maps(
        table,
        shown,
        plane,
        order=params.order,
        shares=shares,
        minimum=minimum,
        n_chance=len(at_random),
        chance=drawn_at_random(subject, plane.layer, params, np.sort(at_random)),
        earlier=beside,
        limit=ends[0],
    )
    tested = difference_maps(
        subject,
        plane,
        profiles.pooled_deviation(moments),
        params.differences,
        split=split,
        level=params.level,
        limit=ends[1],
    )
    findings: list[Finding] = []
    if shares is not None:
        findings += map_sentences.share_finding(
            plane.layer, shares, alpha=subject.multiplicity.alpha
        )
    for block in tested.blocks:
        if isinstance(block, DifferenceMap):
            findings += map_sentences.difference_findings(block)
    return together([drawn, tested, Outcome(blocks=(), findings=tuple(findings))])


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
        *setting_problems(params, faces, layers),
        *earlier,
        *unknown_levels(faces.attributes, params.differences.named),
    )


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


PLUGIN = Analysis(
    title="Topographic maps",
    params_type=Params,
    question="maps",
    run=topomap,
    problems=_problems,
    too_few_draws=lambda params, plan, attributes: too_few_permutations(
        params.differences, plan.alpha, attributes
    ),
    families=_families,
    needs_positions=lambda params: params.reads_positions,
    reads=lambda params: () if params.earlier is None else (params.earlier,),
)

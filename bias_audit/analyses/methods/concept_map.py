"""Whether groups are concentrated on a self-organizing map of a layer's activations.

Source: d'Aquin 2023, who asks this of the concepts of a network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import (
    Analysis,
    BootstrapDraws,
    Coverage,
    OneLayer,
    Outcome,
    Subject,
)
from bias_audit.analyses.families import declared_families, draws_of
from bias_audit.analyses.mapping.concentration import (
    Concentration,
    Hits,
    TestedFamilies,
    ToTest,
    concentration,
    tested,
)
from bias_audit.analyses.mapping.group_maps import FaceMap, FaceMapSettings, map_faces
from bias_audit.analyses.probing.probes import too_few_images
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.probing.separability import chosen_layer, unknown_layers
from bias_audit.analyses.small_groups import Treatments, independent_images, treat
from bias_audit.analyses.targets import INTERSECTION
from bias_audit.analyses.wording import coverage, interval
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute, Group, intersections
from bias_audit.results.blocks import Finding, GroupRow, GroupTable, HypothesisFamilies
from bias_audit.statistics.bootstrap import bootstrap_method, percentile_interval
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.multiplicity import CONTROLS, NAMES
from bias_audit.statistics.sureness import sureness, sureness_of_p, weight_of

METRIC = "relative entropy beyond chance (bits)"


class Params(FaceMapSettings):
    """Where the map is made, and how its groups are described."""

    layer: OneLayer = None
    bootstrap_draws: BootstrapDraws = 1000
    level: Coverage = 0.95


@dataclass(frozen=True)
class _Over:
    """The groups over some attributes."""

    family: str
    attributes: tuple[Attribute, ...]
    groups: tuple[Group, ...]
    first: int
    """Place of the first of them among all groups."""

    @property
    def places(self) -> range:
        """Among all groups."""
        return range(self.first, self.first + len(self.groups))


@dataclass(frozen=True)
class _Found:
    """Everything that is told."""

    layer: str
    faces: FaceMap
    tables: tuple[_Over, ...]
    values: Concentration
    tests: TestedFamilies
    treatments: Treatments
    n_images: npt.NDArray[np.int64]
    """By group."""
    independent: npt.NDArray[np.int64]
    """By group."""
    clustered: bool


def concept_map(subject: Subject, params: Params) -> Outcome:
    """Train a map on all faces, and ask of every group whether it is concentrated there.

    Raises:
        AnalysisError: The layer is unknown, none can be chosen, or it is the same for all images.
    """
    layer, chosen = chosen_layer(subject, params.layer, params.probes)
    found = _found(subject, layer, params)
    tables = tuple(_table(found, over, params.level) for over in found.tables)
    families = HypothesisFamilies(
        title="Groups that are concentrated on the map", families=found.tests.rows
    )
    return Outcome(
        blocks=(*tables, families, found.treatments.ledger),
        findings=(*_global_finding(subject, found), *_findings(subject, found, tables)),
        method=_method(subject, found, params, chosen),
        limits=(*_limits(found), *likeness_limits(subject)),
    )


def _found(subject: Subject, layer: str, params: Params) -> _Found:
    units = np.asarray(subject.activations.units(layer))
    if not np.isfinite(units).all() or not (np.ptp(units, axis=0) > 0).any():
        raise AnalysisError(
            f"layer {layer}: expected finite activations that differ between images, got "
            "undefined ones or the same for all; check the weights, or name another layer"
        )
    faces = map_faces(units, subject.faces.clusters, params, subject.rng("face map", layer))
    tables = tuple(_tables(subject.faces.table.attributes))
    groups = [group for over in tables for group in over.groups]
    hits = _hits(subject, faces, groups)
    cells = subject.faces.table.cells
    size = np.bincount(cells, minlength=subject.faces.table.n_cells)
    n_draws = draws_of(subject.multiplicity, max(len(over.groups) for over in tables))
    values = concentration(
        hits,
        n_draws=n_draws,
        n_resampled=params.bootstrap_draws,
        rng=subject.rng("concentration", layer),
    )
    if values.n_fixed == len(hits.labels):
        raise AnalysisError(
            f"layer {layer}: expected people of several groups with as many images each, so that "
            "labels can be permuted, got none; draw as many images of each person"
        )
    independent = np.concatenate(
        [_independent(subject, hits.members[list(over.places)]) for over in tables]
    )
    policy = subject.small_groups.model_copy(update={"policy": "suppress"})
    treatments = treat(groups, independent, policy, title="Small groups: concentration")
    families = [
        ToTest(name, tuple(groups[i] for i in places), tuple(places))
        for name, parts in itertools.groupby(tables, key=lambda over: over.family)
        for places in [[i for over in parts for i in over.places]]
    ]
    measured = [treatment.is_measured for treatment in treatments.by_group]
    tests = tested(values, measured, families, subject.multiplicity)
    return _Found(
        layer=layer,
        faces=faces,
        tables=tables,
        values=values,
        tests=tests,
        treatments=treatments,
        n_images=np.asarray(hits.members @ size, dtype=np.int64),
        independent=independent,
        clustered=len(np.unique(subject.faces.clusters)) < len(subject.faces),
    )


def _tables(attributes: Sequence[Attribute]) -> Iterator[_Over]:
    """Groups over each attribute, over each pair of several, and over all."""
    chosen: list[tuple[str, tuple[Attribute, ...]]] = [
        ("marginals", (attribute,)) for attribute in attributes
    ]
    if len(attributes) > 2:  # noqa: PLR2004
        chosen += [("pairs", pair) for pair in itertools.combinations(attributes, 2)]
    if len(attributes) > 1:
        chosen.append(("cells", tuple(attributes)))
    first = 0
    for family, over in chosen:
        groups = intersections(over)
        yield _Over(family, over, groups, first)
        first += len(groups)


def _hits(subject: Subject, faces: FaceMap, groups: Sequence[Group]) -> Hits:
    table = subject.faces.table
    finest = [set(cell.levels) for cell in intersections(table.attributes)]
    members = [[set(group.levels) <= cell for cell in finest] for group in groups]
    clusters = subject.faces.clusters
    return Hits.of(faces, table.cells, clusters, np.array(members, dtype=np.float64))


def _independent(subject: Subject, members: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Independent images of groups of which every image belongs to one."""
    codes = members.argmax(axis=0)[subject.faces.table.cells]
    return independent_images(codes, subject.faces.clusters, len(members))


def _table(found: _Found, over: _Over, level: float) -> GroupTable:
    names = [attribute.name for attribute in over.attributes]
    every = over.family == "cells"
    return GroupTable(
        title=f"Concentration by {' and '.join(names)} on a map of {found.layer}",
        quantity="concentration",
        metric=METRIC,
        layer=found.layer,
        target=INTERSECTION if every else " and ".join(names),
        chance=0.0,
        rows=tuple(
            _row(found, group, place, level)
            for group, place in zip(over.groups, over.places, strict=True)
        ),
    )


def _row(found: _Found, group: Group, place: int, level: float) -> GroupRow:
    treatment, n = found.treatments.by_group[place], int(found.n_images[place])
    if not treatment.is_measured:
        return GroupRow(group=group, n=n, estimate=None, reason=treatment.reason)
    tests = found.tests.by_place[place]
    return GroupRow(
        group=group,
        n=n,
        estimate=_estimate(found, place, level),
        p_value=tests.p_value,
        adjusted_p=tests.discovery,
    )


def _estimate(found: _Found, place: int, level: float) -> Estimate:
    """The excess, with the spread of bootstrap draws about it.

    Draws have the noise of the images and that of drawing them, so that they lie too high; they
    are centred on the excess. Draws of k clusters have (k - 1) / k of the variance.
    """
    value = float(found.values.excess[place])
    draws = found.values.resampled[:, place]
    k = max(2, int(found.independent[place]))
    centred = np.sqrt(k / (k - 1)) * (draws - np.nanmean(draws)) + value
    unit = "clusters of images" if found.clustered else "images"
    method = bootstrap_method(unit, len(draws)) + ", centred, with the map as it is"
    lower, upper = percentile_interval(centred, level=level) or (value, value)
    return Estimate(
        value,
        min(lower, value),
        max(upper, value),
        level=level,
        n=int(found.independent[place]),
        method=method,
    )


def _global_finding(subject: Subject, found: _Found) -> tuple[Finding, ...]:
    excess, alpha = found.values.excess_information, subject.multiplicity.alpha
    p = found.tests.p_global
    is_decided = p <= alpha
    text = (
        f"Where a face lies on a self-organizing map of {found.layer}, which was trained without "
        f"labels, tells {excess:.2f} bits of its annotated groups beyond chance"
        if is_decided
        else f"Where a face lies on a self-organizing map of {found.layer}, which was trained "
        "without labels, was not found to tell anything of its annotated groups"
    )
    names = ", ".join(attribute.name for attribute in found.tables[-1].attributes)
    text += f" ({names}; permutation of labels, p = {p:.2g}, n = {len(subject.faces)})."
    weight = weight_of(sureness_of_p(p, alpha), is_decided=is_decided)
    return (Finding(text=text, weight=weight),)


def _findings(subject: Subject, found: _Found, tables: Sequence[GroupTable]) -> Iterator[Finding]:
    """The most concentrated group of each family, where the tests reject."""
    told = zip(found.tables, tables, strict=True)
    for family, parts in itertools.groupby(told, key=lambda pair: pair[0].family):
        rejected = [
            (row, row.estimate, found.tests.by_place[place])
            for over, table in parts
            for place, row in zip(over.places, table.rows, strict=True)
            if row.estimate is not None and found.tests.by_place[place].is_rejected
        ]
        if not rejected:
            continue
        row, estimate, test = max(rejected, key=lambda entry: entry[1].value)
        names = " / ".join(name for name, _ in row.group.levels)
        family_row = next(r for r in found.tests.rows if r.name == family)
        text = (
            f"At {found.layer}, {len(rejected)} of {family_row.n_tested} groups ({family}) are "
            "concentrated on the map beyond chance (labels permuted, "
            f"{NAMES[subject.multiplicity.verdicts]} at {subject.multiplicity.alpha:g}). "
            f"The most concentrated is {row.group.label} (annotated {names}, n = {estimate.n}): "
            f"relative entropy {interval(estimate)} bits beyond chance "
            f"({coverage(estimate.level)}, adjusted p = {test.verdict:.2g})."
        )
        yield Finding(
            text=text,
            weight=weight_of(sureness(estimate), is_decided=True),
            estimates={"concentration": estimate},
        )


def _method(subject: Subject, found: _Found, params: Params, chosen: str) -> tuple[str, ...]:
    plan, faces = subject.multiplicity, found.faces
    n_draws = len(found.values.permuted)
    return (
        f"A self-organizing map of {faces.side} x {faces.side} cells is trained on the "
        f"activations of all images at {found.layer} ({chosen}), standardised, on their first "
        f"{faces.n_axes} principal axes ({100 * faces.kept:.0f} % of the variance); "
        f"{params.epochs} epochs, labels play no part. The relative entropy of a group is the "
        "sum over cells of p log2(p / q), p being the share of the group's images that hit a cell "
        "and q that of all images (d'Aquin 2023). Cells that a group does not hit add 0, so "
        "nothing is smoothed; logarithms of counts are Grassberger's (2003), which hardly depend "
        "on the number of images. Images of one cluster in one cell count once.",
        "Few images hit few cells, whatever they show: the mean under labels in "
        f"random order ({n_draws} permutations over the same map, of whole clusters of images "
        "among those that hit as often) is subtracted, so that a group without concentration is "
        "expected at 0. p is the share of these permutations that reach the observed value, "
        "itself counted. Tables show p adjusted by "
        f"{NAMES[plan.discovery]} ({CONTROLS[plan.discovery]}) within a family; findings "
        f"claim what {NAMES[plan.verdicts]} ({CONTROLS[plan.verdicts]}) rejects.",
        f"Intervals are percentile bootstraps over images, or clusters of images, "
        f"{params.bootstrap_draws} draws, centred on the value; the map is not retrained.",
    )


def _limits(found: _Found) -> tuple[str, ...]:
    sentences = [
        "Relative entropy depends on the number of cells and of images: compare groups of one "
        "map, not maps. A group that is not concentrated may still be linearly decodable.",
        "With fewer images than cells, the value of a concentrated group is a little low and its "
        "interval too short. In simulations 95 % intervals covered the value for 93 to 95 % of "
        "groups of 240 images on 144 cells, but for 85 to 93 % of groups of 30 to 45 images on "
        "100 to 169 cells, and for 75 to 80 % where these were strongly concentrated.",
        "Where the layer is the most separable one, it was chosen by the same labels, which "
        "favours concentration a little.",
    ]
    if found.values.n_fixed:
        sentences.append(
            f"{found.values.n_fixed} hits are of clusters whose labels no permutation can change, "
            "because no other cluster is like them; they count on both sides."
        )
    return tuple(sentences)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = None if params.layer is None else (params.layer,)
    return (*unknown_layers(asked, layers), *too_few_images(params, faces))


def _families(_params: Params, attributes: Sequence[Attribute]) -> int:
    return len(declared_families(attributes))


PLUGIN = Analysis(
    title="Concepts on a self-organizing map",
    params_type=Params,
    run=concept_map,
    problems=_problems,
    families=_families,
    quantities=("concentration",),
)

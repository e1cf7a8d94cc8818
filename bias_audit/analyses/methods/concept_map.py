"""Whether groups are concentrated on a self-organizing map of a layer's activations.

Source: d'Aquin 2023, who tests this for the concepts of a network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, BootstrapDraws, Coverage, Outcome, Subject
from bias_audit.analyses.families import declared_families, depths, draws_of
from bias_audit.analyses.mapping.concentration import (
    LARGEST_SIDE,
    Concentration,
    FaceMap,
    Hits,
    concentration,
    map_faces,
    tested,
)
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.probing.separability import (
    OneLayerSettings,
    chosen_layer,
    setting_problems,
)
from bias_audit.analyses.small_groups import Treatments, independent_images, suppress
from bias_audit.analyses.wording import coverage
from bias_audit.arrays import IntArray
from bias_audit.config.schema import Multiplicity
from bias_audit.errors import AnalysisError
from bias_audit.groups import INTERSECTION, Attribute, Group, intersections
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.printed import chance_of, interval
from bias_audit.shapes.test_families import HypothesisFamilies
from bias_audit.statistics.bootstrap import bootstrap_method, bootstrapped
from bias_audit.statistics.multiplicity import CONTROLS, NAMES
from bias_audit.statistics.sureness import sureness, sureness_of_p, weight_of


class Params(OneLayerSettings):
    """Where the map is made, how it is trained, and how its groups are described."""

    side: int | None = Field(
        default=None,
        ge=2,
        le=64,
        description="Cells along each side of the map; default: the root of 5 times the root of "
        f"the number of independent images, at most {LARGEST_SIDE}.",
    )
    axes: int = Field(
        default=50, ge=2, le=500, description="Principal axes of the activations that are mapped."
    )
    epochs: int = Field(default=10, ge=1, le=1000, description="How often each image is shown.")
    sigma: float = Field(default=1.0, gt=0, description="Width of the neighbourhood, in cells.")
    rate: float = Field(default=0.5, gt=0, le=1, description="Share of the way that cells move.")
    bootstrap_draws: BootstrapDraws = 1000
    level: Coverage = 0.95


@dataclass(frozen=True)
class _Measured:
    """All groups on one map, the ones over the same attributes side by side."""

    layer: str
    groups: tuple[Group, ...]
    n_images: IntArray
    """By group."""
    independent: IntArray
    """By group: images, those of one cluster counted once."""
    values: Concentration
    p_global: float
    tests: tuple[tuple[float | None, float | None, float | None, bool | None], ...]
    """By group: p-values as they are, adjusted to point at something, and adjusted to decide, and
    whether it is rejected."""
    treatments: Treatments
    unit: str
    """What the bootstrap draws."""


def concept_map(subject: Subject, params: Params) -> Outcome:
    """Train a map on all faces, and test of every group whether it is concentrated there."""
    layer, chosen = chosen_layer(subject, params.layer, params.probes)
    units = np.asarray(subject.activations.units(layer))
    if not np.isfinite(units).all() or not (np.ptp(units, axis=0) > 0).any():
        raise AnalysisError(
            f"layer {layer}: expected finite activations that differ between images, got "
            "undefined ones or the same for all; check the weights, or name another layer"
        )
    table, clusters, plan = subject.faces.table, subject.faces.clusters, subject.multiplicity
    faces = map_faces(
        units,
        clusters,
        subject.rng("face map", layer),
        side=params.side,
        axes=params.axes,
        epochs=params.epochs,
        sigma=params.sigma,
        rate=params.rate,
    )
    over = list(depths(table.attributes))
    by_table = [intersections(attributes) for _, attributes in over]
    groups = tuple(itertools.chain(*by_table))
    finest = [set(cell.levels) for cell in intersections(table.attributes)]
    members = np.array([[set(group.levels) <= cell for cell in finest] for group in groups], float)
    hits = Hits.of(faces, table.cells, clusters, members)
    values = concentration(
        hits,
        n_draws=draws_of(plan, max(map(len, by_table))),
        n_resampled=params.bootstrap_draws,
        rng=subject.rng("concentration", layer),
    )
    if values.n_fixed == len(hits.labels):
        raise AnalysisError(
            f"layer {layer}: expected people of several groups with as many images each, so that "
            "labels can be permuted, got none; draw as many images of each person"
        )
    places = np.split(np.arange(len(groups)), np.cumsum([len(own) for own in by_table])[:-1])
    # Every image belongs to one of the groups over the same attributes.
    independent = np.concatenate(
        [
            independent_images(members[own].argmax(axis=0)[table.cells], clusters, len(own))
            for own in places
        ]
    )
    title = "Small groups: concentration"
    treatments = suppress(groups, independent, subject.small_groups, title=title)
    families: dict[str, list[int]] = {}
    for (family, _), own in zip(over, places, strict=True):
        families.setdefault(family, []).extend(own.tolist())
    is_measured = [treatment.is_measured for treatment in treatments.by_group]
    p_global, family_rows, by_family = tested(values, is_measured, groups, families, plan)
    size = np.bincount(table.cells, minlength=table.n_cells)
    found = _Measured(
        layer=layer,
        groups=groups,
        n_images=np.asarray(members @ size, dtype=np.int64),
        independent=independent,
        values=values,
        p_global=p_global,
        tests=tuple(
            test
            for each in by_family
            for test in zip(
                each.p_values, each.discovery, each.verdicts, each.rejected, strict=True
            )
        ),
        treatments=treatments,
        unit="clusters of images" if len(np.unique(clusters)) < len(clusters) else "images",
    )
    rows = [_row(found, place, params.level) for place in range(len(groups))]
    tables = []
    for (family, attributes), own in zip(over, places, strict=True):
        names = " and ".join(attribute.name for attribute in attributes)
        tables.append(
            GroupTable(
                title=f"Which groups by {names} are concentrated on a map of {layer}?",
                quantity="concentration",
                metric="relative entropy beyond chance (bits)",
                layer=layer,
                target=INTERSECTION if family == "cells" else names,
                chance=0.0,
                rows=tuple(rows[place] for place in own),
            )
        )
    tests = HypothesisFamilies(
        title="Which groups are concentrated on the map?", families=family_rows
    )
    return Outcome(
        blocks=(*tables, tests, treatments.ledger),
        findings=(
            _global_finding(found, table.attributes, table.n_images, plan.alpha),
            *_findings(found, rows, families, plan),
        ),
        method=_method(params, faces, plan, f"{layer} ({chosen})", len(values.permuted)),
        limits=(*_limits(values.n_fixed), *likeness_limits(subject)),
    )


def _row(found: _Measured, place: int, level: float) -> GroupRow:
    """A group's excess, with the spread of bootstrap draws about it.

    Draws have the noise of the images and that of drawing them, so that they lie too high; they
    are centred on the excess. Draws of k clusters have (k - 1) / k of the variance.
    """
    treatment, group = found.treatments.by_group[place], found.groups[place]
    n_images, n = int(found.n_images[place]), int(found.independent[place])
    if not treatment.is_measured:
        return GroupRow(group=group, n=n_images, estimate=None, reason=treatment.reason)
    draws, k = found.values.resampled[:, place], max(2, n)
    value = float(found.values.excess[place])
    centred = np.sqrt(k / (k - 1)) * (draws - np.nanmean(draws)) + value
    method = bootstrap_method(found.unit, len(draws)) + ", centred, with the map as it is"
    p_value, discovery, *_ = found.tests[place]
    return GroupRow(
        group=group,
        n=n_images,
        estimate=bootstrapped(value, centred, level=level, n=n, method=method),
        p_value=p_value,
        adjusted_p=discovery,
    )


def _global_finding(
    found: _Measured, attributes: Sequence[Attribute], n_images: int, alpha: float
) -> Finding:
    p, n_draws = found.p_global, len(found.values.permuted)
    is_decided = p <= alpha
    where = (
        f"Where a face lies on a self-organizing map of {found.layer}, which was trained without "
        "labels,"
    )
    excess = found.values.excess_information
    what = (
        f"gives {excess:.2f} bits of information about its groups beyond chance"
        if is_decided
        else "was not shown to give any information about its groups"
    )
    names = ", ".join(attribute.name for attribute in attributes)
    return Finding(
        text=(
            f"{where} {what} ({names}; permutation of labels, {chance_of(p, 1 / (1 + n_draws))}, "
            f"n = {n_images})."
        ),
        weight=weight_of(sureness_of_p(p, alpha), is_decided=is_decided),
    )


def _findings(
    found: _Measured, rows: Sequence[GroupRow], families: dict[str, list[int]], plan: Multiplicity
) -> Iterator[Finding]:
    """The most concentrated group of each family, where the tests reject."""
    for family, places in families.items():
        n_tested = sum(found.tests[place][0] is not None for place in places)
        rejected = [
            (rows[place], estimate, found.tests[place][2])
            for place in places
            if (estimate := rows[place].estimate) is not None and found.tests[place][3]
        ]
        if not rejected:
            continue
        row, estimate, verdict = max(rejected, key=lambda entry: entry[1].value)
        names = " / ".join(name for name, _ in row.group.levels)
        text = (
            f"At {found.layer}, {len(rejected)} of {n_tested} groups ({family}) are significantly "
            f"concentrated on the map (labels permuted, {NAMES[plan.verdicts]} at "
            f"{plan.alpha:g}). The most concentrated is {row.group.label} (by {names}, n = "
            f"{estimate.n}): relative entropy {interval(estimate)} bits beyond chance "
            f"({coverage(estimate.level)}, adjusted {chance_of(verdict)})."
        )
        yield Finding(
            text=text,
            weight=weight_of(sureness(estimate), is_decided=True),
            estimates={"concentration": estimate},
        )


def _method(
    params: Params, faces: FaceMap, plan: Multiplicity, where: str, n_draws: int
) -> tuple[str, ...]:
    return (
        f"A self-organizing map of {faces.side} x {faces.side} cells is trained on the "
        f"activations of all images at {where}, standardised, on their first "
        f"{faces.n_axes} principal axes ({100 * faces.kept:.0f} % of the variance); "
        f"{params.epochs} epochs, labels play no part. The relative entropy of a group is the "
        "sum over cells of p log2(p / q), p being the share of the group's images that hit a cell "
        "and q that of all images (d'Aquin 2023). Cells that a group does not hit add 0, so "
        "nothing is smoothed; logarithms of counts are Grassberger's (2003), which hardly depend "
        "on the number of images. Images of one cluster in one cell count once.",
        "Few images hit few cells, whatever they show: the mean under labels in random order "
        f"({n_draws} permutations over the same map, of whole clusters of images among those that "
        "hit as often) is subtracted, so that a group without concentration is expected at 0. p "
        "is the share of these permutations that reach the observed value, itself counted. "
        f"Tables show p adjusted by {NAMES[plan.discovery]} ({CONTROLS[plan.discovery]}) within a "
        f"family; findings claim what is significant under {NAMES[plan.verdicts]} "
        f"({CONTROLS[plan.verdicts]}).",
        f"Intervals are percentile bootstraps over images, or clusters of images, "
        f"{params.bootstrap_draws} draws, centred on the value; the map is not retrained.",
    )


def _limits(n_fixed: int) -> Iterator[str]:
    yield (
        "Relative entropy depends on the number of cells and of images: compare groups of one "
        "map, not maps. A group that is not concentrated may still be linearly decodable."
    )
    yield (
        "With fewer images than cells, the value of a concentrated group is a little low and its "
        "interval too short. In simulations 95 % intervals covered the value for 93 to 95 % of "
        "groups of 240 images on 144 cells, but for 85 to 93 % of groups of 30 to 45 images on "
        "100 to 169 cells, and for 75 to 80 % where these were strongly concentrated."
    )
    yield (
        "Where the layer is the most separable one, it was chosen by the same labels, which "
        "favours concentration a little."
    )
    if n_fixed:
        yield (
            f"The labels of {n_fixed} hits cannot change in any permutation, because no other "
            "cluster is like theirs; these hits count on both sides."
        )


PLUGIN = Analysis(
    title="Concepts on a self-organizing map",
    params_type=Params,
    question="maps",
    run=concept_map,
    problems=setting_problems,
    families=lambda _params, attributes: len(declared_families(attributes)),
    quantities=("concentration",),
)

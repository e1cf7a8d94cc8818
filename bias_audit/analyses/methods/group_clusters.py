"""Clusters of groups, layer by layer: which attribute organises a layer.

Source: the sequel of Krug & Stober 2025 (arXiv:2506.03664), whose ten clusters and whose means
over clusters of more than three groups are `clusters: 10` and `smallest_cluster: 4`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import (
    Analysis,
    BootstrapDraws,
    Coverage,
    Outcome,
    Subject,
    Workload,
)
from bias_audit.analyses.clustering import summary
from bias_audit.analyses.clustering.distances import MOST_BYTES, MOST_IMAGES, relative_entropies
from bias_audit.analyses.clustering.layer import (
    Clustered,
    Groups,
    activations_of,
    clusters_at,
    groups_of,
    redrawn,
)
from bias_audit.analyses.clustering.summary import Found, mirrored
from bias_audit.analyses.probing.separability import check_layers, unknown_layers
from bias_audit.analyses.targets import finest_target, level_counts
from bias_audit.analyses.wording import listed
from bias_audit.config.schema import Multiplicity, Strict
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.shapes.group_clusters import GroupCluster, GroupClusters
from bias_audit.shapes.layer_curve import ControlPoint, Curve, CurvePoint, LayerCurve
from bias_audit.shapes.measures import Entry, Measure, Measures
from bias_audit.shapes.printed import chance_of
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.multiplicity import draws_needed


class Params(Strict):
    """Which groups are clustered where, into how many clusters, and how often drawn again."""

    layers: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Whose groups are clustered; default: all."
    )
    clusters: int | None = Field(
        default=None,
        ge=2,
        description="Clusters at every layer; the published analysis has 10. Default: as many as "
        "agree best between halves of the people, or none where halves agree no better than with "
        "labels in random order.",
    )
    most_clusters: int = Field(
        default=20,
        ge=2,
        description="Where `clusters` is left out: at most so many, and on average at least "
        "`smallest_cluster` groups in each.",
    )
    smallest_cluster: int = Field(
        default=4,
        ge=2,
        description="Groups that a cluster needs to count in the means over clusters; the "
        "published analysis has 4.",
    )
    smallest_group: int = Field(
        default=5, ge=4, description="A group of fewer independent images is not clustered."
    )
    images_per_group: int = Field(
        default=40,
        ge=4,
        description="At most so many images of each group are drawn, whole people at a time: "
        "every two of them are compared.",
    )
    splits: int = Field(default=10, ge=2, le=1000, description="Of the people into two halves.")
    permutations: int = Field(
        default=199, ge=19, le=100_000, description="Labels in random order, behind each p-value."
    )
    bootstrap_draws: BootstrapDraws = 500
    level: Coverage = 0.95


QUANTITY = "cluster_entropy"
METRIC = "relative entropy of levels in clusters"
SHUFFLED = "shuffled labels"


def group_clusters(subject: Subject, params: Params) -> Outcome:
    """Cluster the intersections at every layer, and see which attribute the clusters follow."""
    layers = check_layers(subject, params.layers or subject.activations.layers)
    groups = groups_of(
        subject,
        smallest=params.smallest_group,
        most=params.images_per_group,
        rng=subject.rng("images for clusters of groups"),
    )
    if groups is not None and len(groups.attributes) < 2:  # noqa: PLR2004
        return Outcome(blocks=(), limits=_attributes_left_out(subject, groups))
    counts = _counts(params, 0 if groups is None else len(groups.kept))
    if groups is None or not counts:
        raise AnalysisError(
            f"expected {1 + (params.clusters or 2)} groups of {params.smallest_group} independent "
            f"images or more, got {0 if groups is None else len(groups.kept)}; widen the "
            "sampling, or lower clusters or smallest_group"
        )
    again = redrawn(
        subject,
        groups,
        draws=params.bootstrap_draws,
        splits=params.splits,
        permutations=params.permutations,
    )
    found: dict[str, Clustered] = {}
    alike: dict[str, Estimate] = {}
    n = int(groups.clusters.max()) + 1
    for layer in subject.counted(layers, "Clusters of groups of", unit="layer"):
        arrays = subject.cached(
            "clusters of groups",
            subject.activations.fingerprint,
            layer,
            groups.images,
            groups.of_image,
            groups.clusters,
            groups.levels,
            subject.faces.table.cells,
            params.model_dump_json(exclude={"layers", "level"}),
            compute=partial(
                clusters_at,
                subject,
                layer,
                groups,
                again,
                counts=counts,
                smallest_cluster=params.smallest_cluster,
            ),
        ).arrays()
        found[layer] = Clustered.stored(arrays)
        alike[layer] = mirrored(
            float(arrays["alike"]),
            arrays["drawn_alike"],
            level=params.level,
            n=n,
            within=(-1.0, 1.0),
        )
    result = Found(
        layers=found,
        attributes=tuple(subject.faces.table.attributes[i].name for i in groups.attributes),
        is_fixed=params.clusters is not None,
        alike=alike,
        alpha=subject.multiplicity.alpha,
        level=params.level,
        n=n,
    )
    clearest = result.clearest
    return Outcome(
        blocks=(
            _curves(result),
            *(() if clearest is None else (_clusters(result, clearest, groups, subject, params),)),
            _by_layer(result),
        ),
        findings=(*summary.follow_findings(result), *summary.count_findings(result)),
        method=_method(subject, params, layers, counts, groups),
        limits=_limits(subject, groups),
    )


def _counts(params: Params, n_groups: int) -> tuple[int, ...]:
    """Numbers of clusters to look at; none where there are too few groups for any."""
    if params.clusters is not None:
        return (params.clusters,) if params.clusters < n_groups else ()
    most = min(params.most_clusters, max(2, n_groups // params.smallest_cluster))
    return tuple(range(2, most + 1)) if n_groups > 2 else ()  # noqa: PLR2004


def _curves(found: Found) -> LayerCurve:
    """Relative entropy of each attribute over the layers, against labels in random order."""
    return LayerCurve(
        title="Which attribute do clusters of groups follow?",
        quantity=QUANTITY,
        metric=METRIC,
        chance={},
        curves=tuple(
            Curve(
                target=name,
                points=tuple(_point(found, layer, place) for layer in found.layers),
                not_measured="no clusters that repeat in other people, or none with enough groups",
            )
            for place, name in enumerate(found.attributes)
        ),
    )


def _point(found: Found, layer: str, place: int) -> CurvePoint:
    value = found.entropy(layer, place) if layer in found.clustered else None
    if value is None:
        return CurvePoint(layer=layer, estimate=None)
    shuffled = found.shuffled(layer, place)
    lift = replace(
        value,
        value=value.value - shuffled.value,
        lower=value.lower - shuffled.value,
        upper=value.upper - shuffled.value,
        scale="identity",
        method=f"{value.method}, less the mean of shuffled labels",
    )
    p_value, adjusted = found.p_values[layer, place]
    return CurvePoint(
        layer=layer,
        estimate=value,
        controls=(ControlPoint(name=SHUFFLED, estimate=shuffled, lift=lift),),
        lift=lift,
        strongest=SHUFFLED,
        p_value=p_value,
        adjusted_p=adjusted,
    )


def _clusters(
    found: Found, layer: str, groups: Groups, subject: Subject, params: Params
) -> GroupClusters:
    """The clusters of one layer, those that share most first."""
    table, own = subject.faces.table, found.layers[layer].clusters
    target = finest_target(table)
    each = relative_entropies(own, groups.levels, groups.n_levels)
    order = np.argsort(-np.nan_to_num(each, nan=-1.0).sum(axis=1), kind="stable")
    present = {pair for group in groups.kept for pair in target.groups[group].levels}
    return GroupClusters(
        title=f"Which groups does {layer} place together?",
        layer=layer,
        attributes=tuple(
            Attribute(a.name, tuple(v for v in a.levels if (a.name, v) in present))
            for a in (table.attributes[place] for place in groups.attributes)
        ),
        clusters=tuple(
            GroupCluster(
                groups=tuple(target.groups[i] for i in groups.kept[own == cluster]),
                entropies=tuple(None if np.isnan(v) else float(v) for v in each[cluster]),
            )
            for cluster in order
        ),
        smallest=params.smallest_cluster,
    )


_HALVES = Measure(
    name="agreement of halves",
    better="higher",
    meaning="adjusted Rand index of the clusters of two halves of the people; 1: the same "
    "clusters, 0: chance",
)
_DENDROGRAM = Measure(
    name="agreement with profiles",
    better="higher",
    meaning="the same with as many clusters of the dendrogram of group geometry, which compares "
    "mean activations instead of single images",
)


def _by_layer(found: Found) -> Measures:
    """How many clusters every layer has, and what they agree with."""
    return Measures(
        title="On how many clusters of groups do halves of the people agree best?",
        noun="layer",
        measures=(_HALVES, _DENDROGRAM),
        entries=tuple(
            Entry(
                name=layer,
                values=(found.agreement(layer), found.alike[layer]),
                standing=_standing(found, layer),
            )
            for layer in found.layers
        ),
        standing_is="clusters",
        caption="How many clusters the groups form at each layer, and how well they repeat.",
        notes=(
            "p: how often halves agree as well at any layer when all labels are in random order.",
        ),
        is_drawn=False,
    )


def _standing(found: Found, layer: str) -> str:
    p = chance_of(found.stability_p[layer])
    number = str(found.layers[layer].n_clusters) if layer in found.clustered else "none"
    return f"{number}, {p}"


def _method(
    subject: Subject,
    params: Params,
    layers: tuple[str, ...],
    counts: tuple[int, ...],
    groups: Groups,
) -> tuple[str, ...]:
    flat = [layer for layer in layers if not activations_of(subject, layer)[1]]
    reduced = subject.activations.reduced
    where = f"the activations of every unit at all recorded positions: {reduced}"
    if len(flat) == len(layers):
        where = "the mean activations of every unit"
    elif flat:
        where += f" (at {listed(flat)}, where none were recorded, the mean over positions)"
    return summary.method(
        where,
        counts=counts,
        n_groups=len(groups.kept),
        n_images=len(groups.images),
        per_group=params.images_per_group,
        smallest_cluster=params.smallest_cluster,
        splits=params.splits,
        permutations=params.permutations,
        draws=params.bootstrap_draws,
    )


def _attributes_left_out(subject: Subject, groups: Groups) -> tuple[str, ...]:
    """Why there is nothing to cluster, or which attributes take no part."""
    names = [attribute.name for attribute in subject.faces.table.attributes]
    out = [name for place, name in enumerate(names) if place not in groups.attributes]
    if len(groups.attributes) < 2:  # noqa: PLR2004
        return (
            "Which attribute clusters of groups follow was not examined: it needs two attributes "
            "with several levels of enough images.",
        )
    return (f"{listed(out)}: one level has enough images; it takes no part.",) if out else ()


def _limits(subject: Subject, groups: Groups) -> tuple[str, ...]:
    target = finest_target(subject.faces.table)
    left_out = np.setdiff1d(np.arange(len(target.groups)), groups.kept)
    return (
        *_attributes_left_out(subject, groups),
        *summary.limits([target.groups[i].label for i in left_out], len(target.groups)),
    )


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    """Layers that there are not, more clusters than groups, and more distances than memory."""
    sizes = np.bincount(faces.cells, minlength=faces.n_cells)
    n_groups = int(np.count_nonzero(sizes))
    n_images = int(np.minimum(sizes, params.images_per_group).sum())
    problems = [*unknown_layers(params.layers, layers)]
    if params.clusters is not None and params.clusters >= n_groups:
        problems.append(
            f"clusters: expected fewer clusters than groups, got {params.clusters} clusters and "
            f"{n_groups} intersections with images"
        )
    if n_images > MOST_IMAGES:
        problems.append(
            f"images_per_group: expected at most {MOST_IMAGES} images of all groups together, "
            f"because distances of every two must fit into {MOST_BYTES / 2**30:g} GiB, got "
            f"{n_images}; set images_per_group: {MOST_IMAGES // n_groups}"
        )
    return tuple(problems)


def _too_few_draws(
    params: Params, plan: Multiplicity, attributes: Sequence[Attribute]
) -> tuple[str, ...]:
    """Draws with which nothing could be significant: max-T over all layers."""
    needed = draws_needed(1, alpha=plan.alpha, method="max_t")
    draws = {"permutations": params.permutations, "bootstrap_draws": params.bootstrap_draws}
    return tuple(
        f"group_clusters: {key}: {n} draws cannot make anything significant at {plan.alpha:.3g}; "
        f"at least {needed} are needed"
        for key, n in draws.items()
        if n < needed and len(attributes) > 1
    )


_DISTANCE, _MEAN = 1.4, 20.0
"""Time of a product of two activations, and of a distance in a mean, relative to a unit of
`probe_work`; measured with 480 to 2520 images and 6 to 126 groups."""
_TREE, _BRANCH = 7e6, 7e5
"""The same of a tree and its clusters, and of every group in it."""


def _work(params: Params, workload: Workload) -> float:
    """Distances of every two images, and clusters of the same distances drawn again."""
    *sizes, cells = level_counts(workload.attributes).values()
    if len(sizes) < 2:  # noqa: PLR2004
        return 0.0
    n_images = min(workload.n_images, cells * params.images_per_group)
    layers = workload.n_units if params.layers is None else params.layers
    units = sum(workload.n_units.get(layer, 0) for layer in layers)
    repeats = params.bootstrap_draws + params.permutations * (len(sizes) + params.splits)
    again = _MEAN * n_images**2 + _TREE + _BRANCH * cells
    return _DISTANCE * n_images**2 * units * workload.positions + len(layers) * repeats * again


PLUGIN = Analysis(
    title="Clusters of groups",
    params_type=Params,
    question="maps",
    run=group_clusters,
    problems=_problems,
    too_few_draws=_too_few_draws,
    families=lambda _params, attributes: 3 if len(attributes) > 1 else 0,
    fits=_work,
    quantities=(QUANTITY,),
)

"""How groups lie to each other: distances of their profiles, dendrograms, and over the layers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Literal

import numpy as np
from pydantic import Field
from scipy.cluster.hierarchy import leaves_list
from scipy.spatial.distance import squareform

from bias_audit.analyses.analysis import (
    Analysis,
    BootstrapDraws,
    Coverage,
    Outcome,
    Subject,
    Workload,
)
from bias_audit.analyses.mapping import group_distances
from bias_audit.analyses.mapping.group_maps import Arrays, dendrogram
from bias_audit.analyses.mapping.profiles import (
    SCORE_INTERVALS,
    Sample,
    bayesian_weights,
    profiles,
)
from bias_audit.analyses.probing.probes import too_few_images, widest
from bias_audit.analyses.probing.separability import (
    LayersSettings,
    check_layers,
    chosen_layers,
    unknown_layers,
)
from bias_audit.analyses.small_groups import independent_images
from bias_audit.analyses.targets import Target, finest_target, level_counts, targets_of
from bias_audit.analyses.wording import coverage, listed
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.errors import AnalysisError
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_matrix import GroupMatrix, GroupPair
from bias_audit.shapes.layer_matrix import LayerMatrix, LayerPair
from bias_audit.shapes.printed import interval
from bias_audit.statistics.sureness import sureness_above

METRIC = "distance of profiles in standard deviations within groups"
_MOST_NAMED = 40
"""Groups of a dendrogram: more cannot be named along a matrix, and stay in declared order."""
_ALL_PAIRS = 36
_EACH_END = 10
_RANKED = 20
"""Operations to rank a distance."""


class Params(LayersSettings):
    """Where distances are shown, and which layers are compared."""

    layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Whose distances are shown; default: the layer at which intersections "
        "separate best.",
    )
    compared_layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=2,
        description="Whose arrangements of groups are compared; default: all.",
    )
    order: Literal["dendrogram", "declared"] = Field(
        default="dendrogram",
        description="Of rows and columns, up to 40; with the former it is drawn.",
    )
    smallest_group: int = Field(
        default=5, ge=2, description="A group of fewer independent images has no distances."
    )
    bootstrap_draws: BootstrapDraws = 500
    level: Coverage = 0.95


def group_geometry(subject: Subject, params: Params) -> Outcome:
    """Distances of the levels of every attribute and of all intersections, and over the layers."""
    shown, chosen = chosen_layers(subject, params.layers, params.probes)
    compared = check_layers(subject, params.compared_layers or subject.activations.layers)
    table = subject.faces.table
    finest = finest_target(table)
    targets = list(targets_of(table, [*(a.name for a in table.attributes), finest.name]))
    clusters = subject.faces.clusters
    weights = bayesian_weights(clusters, params.bootstrap_draws, subject.rng("bootstrap"))
    layers = [name for name in subject.activations.layers if name in {*shown, *compared}]
    blocks: list[GroupMatrix] = []
    arrays: Arrays = {}
    arranged: dict[str, group_distances.Arrangement] = {}
    for layer in subject.counted(layers, "Group geometry of", unit="layer"):
        moments = subject.activations.moments(layer)
        sample = Sample.of(subject, layer, weights)
        for target in targets if layer in shown else [finest]:
            kept, n = _large_groups(target, clusters, params.smallest_group)
            found = group_distances.distances(
                profiles(moments, table.attributes, target), sample, kept
            )
            if layer in shown:
                block, values = _matrix(layer, target, found, n, len(blocks), params=params)
                blocks.append(block)
                arrays |= values
            if target.name == finest.name and layer in compared:
                arranged[layer] = group_distances.arrangement(found)
    over_layers = [*_over_layers(arranged, finest, len(np.unique(clusters)), params.level)]
    return Outcome(
        blocks=(*blocks, *over_layers),
        arrays=arrays,
        findings=(
            *(finding for block in blocks for finding in _finding(block)),
            *(finding for block in over_layers for finding in _layer_finding(block, shown[0])),
        ),
        method=_method(params, shown, chosen, finest),
        limits=(
            "A distance averages over units: groups equally far from a third one may lie in "
            "different directions. The nearest and farthest of many pairs are extremes, part of "
            "whose size is chance: read the intervals.",
            "Distances of the groups of one attribute include what their composition by the "
            "other attributes adds.",
        ),
    )


def _large_groups(target: Target, clusters: IntArray, smallest: int) -> tuple[IntArray, int]:
    """Groups of enough independent images, and how many these have together."""
    alone = independent_images(target.codes, clusters, len(target.groups))
    kept = np.flatnonzero(alone >= smallest)
    if len(kept) < 2:  # noqa: PLR2004
        raise AnalysisError(
            f"expected two groups of {target.described} with {smallest} independent images or "
            f"more, got {len(kept)}; widen the sampling, or lower smallest_group"
        )
    return kept, int(alone[kept].sum())


def _matrix(
    layer: str,
    target: Target,
    found: group_distances.Distances,
    n: int,
    number: int,
    *,
    params: Params,
) -> tuple[GroupMatrix, Arrays]:
    """The distances of one target, as the `number`th matrix; with its arrays.

    Groups that a dendrogram names come first, in its order; all are in their declared order where
    none is drawn.
    """
    n_groups, n_found = len(target.groups), len(found.groups)
    keys = {"values": f"matrix{number}-distances", "bounds": f"matrix{number}-bounds"}
    arrays: Arrays = {}
    groups = np.arange(n_groups)
    if params.order == "dendrogram" and 2 < n_found <= _MOST_NAMED:  # noqa: PLR2004
        keys["tree"] = f"matrix{number}-tree"
        arrays[keys["tree"]], order = _dendrogram(found.values)
        drawn = found.groups[order]
        groups = np.concatenate([drawn, np.setdiff1d(groups, drawn)])
    elif params.order == "dendrogram" and n_found > _MOST_NAMED:
        keys["undrawn_tree"] = f"matrix{number}-tree"
        arrays[keys["undrawn_tree"]] = dendrogram(squareform(found.values, checks=False))
    own = np.argsort(groups)[found.groups]
    values = np.full((n_groups, n_groups), np.nan, dtype=np.float32)
    values[np.ix_(own, own)] = found.values
    bounds = np.full((2, n_groups, n_groups), np.nan, dtype=np.float32)
    rows, columns = found.pairs
    ends = np.sqrt(np.maximum(found.squares.bounds(params.level), 0))
    for one, other in ((own[rows], own[columns]), (own[columns], own[rows])):
        bounds[:, one, other] = ends
    is_intersection = len(target.groups[0].levels) > 1
    between = "intersections" if is_intersection else f"groups by {target.name}"
    block = GroupMatrix(
        detail=is_intersection,
        title=f"Which {between} does {layer} place near each other?",
        metric=METRIC,
        layer=layer,
        groups=tuple(target.groups[i] for i in groups),
        pairs=tuple(_pairs(found, own, n, params.level)),
        **keys,
    )
    return block, arrays | {keys["values"]: values, keys["bounds"]: bounds}


def _dendrogram(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Linkage numbered in the order of its leaves, and that order."""
    tree = dendrogram(squareform(values, checks=False))
    order = leaves_list(tree).astype(np.int64)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    renumbered = tree.copy()
    for side in (0, 1):
        leaves = tree[:, side] < len(order)
        renumbered[leaves, side] = place[tree[leaves, side].astype(np.int64)]
    return renumbered, order


def _pairs(
    found: group_distances.Distances, own: IntArray, n: int, level: float
) -> Iterator[GroupPair]:
    """All pairs of few groups; of many, the nearest and the farthest."""
    rows, columns = found.pairs
    order = np.argsort(found.squares.values, kind="stable")
    estimates = found.squares.estimates(np.full(len(order), n), level)
    if len(order) > _ALL_PAIRS:
        order = np.concatenate([order[:_EACH_END], order[-_EACH_END:]])
    for pair in order.tolist():
        if (estimate := estimates[pair]) is not None:
            one, other = sorted((int(own[rows[pair]]), int(own[columns[pair]])))
            yield GroupPair(one=one, other=other, estimate=estimate)


def _over_layers(
    arranged: dict[str, group_distances.Arrangement], target: Target, n: int, level: float
) -> Iterator[LayerMatrix]:
    pairs = tuple(
        LayerPair(one=one, other=other, estimate=estimate)
        for one, other in combinations(arranged, 2)
        if (estimate := group_distances.likeness(arranged[one], arranged[other], level=level, n=n))
        is not None
    )
    if pairs:
        yield LayerMatrix(
            title=f"Do layers arrange the groups of {target.described} alike?",
            metric="Spearman correlation of the distances between groups",
            layers=tuple(arranged),
            pairs=pairs,
        )


def _finding(block: GroupMatrix) -> Iterator[Finding]:
    if len(block.pairs) < 2:  # noqa: PLR2004
        return
    near, far = block.pairs[0], block.pairs[-1]
    names = " / ".join(name for name, _ in block.groups[0].levels)
    nearest, farthest = (
        f"{block.groups[pair.one].label} and {block.groups[pair.other].label} "
        f"({interval(pair.estimate)})"
        for pair in (near, far)
    )
    yield Finding(
        text=(
            f"At {block.layer}, of all pairs of groups by {names}, the nearest is {nearest} and "
            f"the farthest is {farthest}: distance of profiles in standard deviations within "
            f"groups, sampling noise subtracted ({coverage(near.estimate.level)}s, not corrected "
            "for multiple comparisons)."
        ),
        weight=sureness_above(far.estimate.value, far.estimate.lower),
        estimates={"nearest": near.estimate, "farthest": far.estimate},
    )


def _layer_finding(block: LayerMatrix, layer: str) -> Iterator[Finding]:
    own = {
        (pair.other if pair.one == layer else pair.one): pair.estimate
        for pair in block.pairs
        if layer in {pair.one, pair.other}
    }
    if len(own) < 2:  # noqa: PLR2004
        return
    ranked = sorted(own.items(), key=lambda entry: entry[1].value)
    (least, low), (most, high) = ranked[0], ranked[-1]
    yield Finding(
        text=f"{layer} arranges the groups most like {most} ({interval(high)}) and least like "
        f"{least} ({interval(low)}): Spearman correlation of the distances between groups "
        f"({coverage(low.level)}s).",
        weight=0.0,
        estimates={"most alike": high, "least alike": low},
    )


def _method(
    params: Params, shown: tuple[str, ...], chosen: str, finest: Target
) -> tuple[str, ...]:
    drawn = (
        f" Up to {_MOST_NAMED} groups follow a dendrogram (average linkage, optimal leaf order), "
        "more stay in their declared order."
        if params.order == "dendrogram"
        else ""
    )
    return (
        f"The distance of two groups is the root mean square over units of the difference of "
        f"their profiles, in standard deviations within intersections, at {listed(shown)} "
        f"({chosen}). The square that sampling noise alone is expected to add is subtracted, so "
        f"that small groups are not far for being small; 0 where noise explains all.{drawn}",
        f"Layers are compared by the Spearman correlation of the distances of all pairs of "
        f"{finest.described} (representational similarity analysis, Kriegeskorte et al. 2008); "
        "noise in the distances pulls it towards 0.",
        f"{SCORE_INTERVALS.format(draws=params.bootstrap_draws)} Those of the correlations are "
        "the central part of these draws. Groups of fewer than "
        f"{params.smallest_group} independent images have no distances.",
    )


_SLOWER = 3.0
"""Time of a product of the draws, relative to a unit of `probe_work`; measured with 600 to
3000 images and 12 to 126 intersections."""


def _work(params: Params, workload: Workload) -> float:
    """Draws of the means of every group, and of their distances, at every layer."""
    *sizes, cells = level_counts(workload.attributes).values()
    shown = widest(workload, params.layers)
    compared = params.compared_layers or workload.n_units
    total = sum(
        n_units * (len(sizes) * workload.n_images + sum(size**2 for size in sizes))
        for n_units in shown
    )
    n_pairs = cells * (cells - 1) // 2
    for n_units in (workload.n_units.get(layer, 0) for layer in compared):
        total += n_units * (workload.n_images + cells**2) + _RANKED * n_pairs
    return _SLOWER * params.bootstrap_draws * total


PLUGIN = Analysis(
    title="Group geometry",
    params_type=Params,
    question="maps",
    run=group_geometry,
    problems=lambda params, faces, layers: (
        *unknown_layers((*(params.layers or ()), *(params.compared_layers or ())), layers),
        *too_few_images(params, faces),
    ),
    fits=_work,
)

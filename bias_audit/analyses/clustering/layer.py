"""Which groups and images are clustered, the clusters at one layer, and those drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.clustering.distances import (
    adjusted_rand,
    cut,
    distances,
    mean_distances,
    mean_entropies,
    tree_of,
)
from bias_audit.analyses.mapping import group_distances
from bias_audit.analyses.mapping.labellings import exchange, permuted
from bias_audit.analyses.mapping.profiles import Sample, bayesian_weights, profiles
from bias_audit.analyses.small_groups import independent_images
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.cache import Arrays
from bias_audit.data.sampling import stratified_folds
from bias_audit.errors import AnalysisError

Small = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Groups:
    """The groups that are clustered, and their images."""

    kept: IntArray
    """As indices into all intersections, shape (n_groups,)."""
    attributes: tuple[int, ...]
    """Those of which several levels occur, by place."""
    levels: IntArray
    """Of each of these, those that occur numbered from 0, shape (n_groups, n_attributes)."""
    images: IntArray
    """As indices into the subject's, ascending, shape (n,)."""
    of_image: IntArray
    """Group of each image, 0 .. n_groups - 1, shape (n,)."""
    clusters: IntArray
    """Cluster of each image, numbered from 0, shape (n,)."""

    @property
    def n_levels(self) -> tuple[int, ...]:
        """Of each attribute, those that occur."""
        return tuple(int(column.max()) + 1 for column in self.levels.T)


def groups_of(
    subject: Subject, *, smallest: int, most: int, rng: np.random.Generator
) -> Groups | None:
    """Intersections of at least `smallest` independent images; at most `most` images of each.

    Drawn is an image of every cluster first, then a second one, and so on. Attributes of which one
    level occurs are left out. None where fewer than two groups are large enough.
    """
    table, clusters = subject.faces.table, subject.faces.clusters
    target = finest_target(table)
    alone = independent_images(target.codes, clusters, len(target.groups))
    kept = np.flatnonzero(alone >= smallest)
    if len(kept) < 2:  # noqa: PLR2004
        return None
    drawn = [_drawn(np.flatnonzero(target.codes == group), clusters, most, rng) for group in kept]
    images = np.sort(np.concatenate(drawn))
    shape = [len(attribute.levels) for attribute in table.attributes]
    levels = [_numbered(column) for column in np.unravel_index(kept, shape)]
    varied = tuple(place for place, column in enumerate(levels) if column.any())
    return Groups(
        kept=kept,
        attributes=varied,
        levels=np.stack([levels[place] for place in varied], axis=1),
        images=images,
        of_image=np.searchsorted(kept, target.codes[images]),
        clusters=_numbered(clusters[images]),
    )


def _drawn(own: IntArray, clusters: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """Images of a group, of as many clusters as there can be."""
    mixed = rng.permutation(own)
    number = _numbered(clusters[mixed])
    by_cluster = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[by_cluster], number[by_cluster])
    turn = np.empty(len(mixed), dtype=np.int64)
    turn[by_cluster] = np.arange(len(mixed)) - starts
    return np.asarray(mixed[np.argsort(turn, kind="stable")[:most]])


def _numbered(values: npt.NDArray[np.integer]) -> IntArray:
    """The same with numbers from 0, without gaps."""
    return np.asarray(np.unique(values, return_inverse=True)[1], dtype=np.int64)


@dataclass(frozen=True)
class Redrawn:
    """The same images drawn again, alike at every layer."""

    weights: Float32Array
    """Of a Bayesian bootstrap over clusters, of all the subject's images, (n_draws, n_images)."""
    halves: Small
    """Half of the people that an image is in, 0 or 1, by split, shape (n_splits, n)."""
    shuffled: Small
    """Groups under labels in random order, shape (n_permutations, n)."""
    shuffled_halves: Small
    """The halves that go with them, each as even as before, (n_permutations, n_splits, n)."""
    within: Small
    """Groups when the labels of one attribute are in random order among images that are alike in
    the others, shape (n_attributes, n_permutations, n)."""


def redrawn(
    subject: Subject, groups: Groups, *, draws: int, splits: int, permutations: int
) -> Redrawn:
    """Weights, halves and labels for all layers; whole clusters of images stay together."""
    own, clusters = groups.of_image, groups.clusters
    rng = subject.rng("halves for clusters of groups")
    halves = np.stack([stratified_folds(own, clusters, 2, rng) for _ in range(splits)])
    # An image that takes another one's group takes its halves, so that no half loses a group.
    slots, number = np.unique(np.vstack([own, halves]), axis=1, return_inverse=True)
    everywhere = np.zeros_like(own)
    rng = subject.rng("labels for clusters of groups")
    taken = slots[:, permuted(exchange(number.ravel(), everywhere, clusters), permutations, rng)]
    within = []
    for place in range(groups.levels.shape[1]):
        others = np.delete(groups.levels, place, axis=1)
        strata = np.unique(others, axis=0, return_inverse=True)[1].ravel()[own]
        within.append(permuted(exchange(own, strata, clusters), permutations, rng))
    return Redrawn(
        weights=bayesian_weights(
            subject.faces.clusters, draws, subject.rng("weights for clusters")
        ),
        halves=halves.astype(np.int16),
        shuffled=taken[0].astype(np.int16),
        shuffled_halves=taken[1:].transpose(1, 0, 2).astype(np.int16),
        within=np.stack(within).astype(np.int16),
    )


@dataclass(frozen=True)
class Clustered:
    """One layer; every array is kept in the cache."""

    clusters: IntArray
    """Of each group, from 0, shape (n_groups,)."""
    values: FloatArray
    """Mean relative entropy of each attribute, (n_attributes,); NaN without a large cluster."""
    drawn: FloatArray
    """The same of bootstrap draws, shape (n_draws, n_attributes)."""
    permuted: FloatArray
    """The same with that attribute's labels in random order, (n_permutations, n_attributes)."""
    stability: FloatArray
    """Adjusted Rand index between halves of the people, shape (n_counts, n_splits)."""
    shuffled: FloatArray
    """The largest mean over splits that labels in random order reach, shape (n_permutations,)."""
    drawn_clusters: IntArray
    """Of each group in bootstrap draws, shape (n_draws, n_groups)."""

    @classmethod
    def stored(cls, arrays: Arrays) -> Clustered:
        """As `arrays` gave it."""
        return cls(**{each.name: arrays[each.name] for each in fields(cls)})

    @property
    def arrays(self) -> Arrays:
        """To be stored."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def n_clusters(self) -> int:
        """Of the groups."""
        return int(self.clusters.max()) + 1


def activations_of(subject: Subject, layer: str) -> tuple[Float32Array, bool]:
    """Activations at all positions, and whether these were recorded; else the mean over them."""
    try:
        return subject.activations.positions(layer), True
    except KeyError:
        return subject.activations.units(layer), False


def clusters_at(
    subject: Subject,
    layer: str,
    groups: Groups,
    again: Redrawn,
    *,
    counts: Sequence[int],
    smallest_cluster: int,
) -> Arrays:
    """What is kept of a layer: `clustered`, and how alike the dendrogram of group profiles is.

    `alike` is the adjusted Rand index with as many of its clusters, `drawn_alike` that of
    bootstrap draws, shape (n_draws,).

    Raises:
        AnalysisError: An activation is not finite.
    """
    try:
        values = activations_of(subject, layer)[0]
        found = clustered(values, groups, again, counts, smallest_cluster)
    except ValueError as error:
        raise AnalysisError(f"layer {layer}: {error}") from error
    table = subject.faces.table
    cells = profiles(subject.activations.moments(layer), table.attributes, finest_target(table))
    other = group_distances.distances(cells, Sample.of(subject, layer, again.weights), groups.kept)
    draws = zip(other.draws.astype(np.float64), found.drawn_clusters, strict=True)
    return {
        **found.arrays,
        "alike": np.array(_likeness(other.squares.values, found.clusters)),
        "drawn_alike": np.array([_likeness(squares, own) for squares, own in draws]),
    }


def _likeness(squares: FloatArray, clusters: IntArray) -> float:
    """Of clusters and of as many from the dendrogram that `group_geometry` draws."""
    tree = linkage(np.sqrt(np.maximum(squares, 0)), "average")
    return adjusted_rand(clusters, cut(tree, [int(clusters.max()) + 1])[0])


def clustered(
    values: Float32Array,
    groups: Groups,
    again: Redrawn,
    counts: Sequence[int],
    smallest_cluster: int,
) -> Clustered:
    """Cluster the groups at one layer, as often as images are drawn again.

    Of several numbers of clusters, `most_stable` chooses one, which is used for everything.

    Args:
        values: Activations of all images, (n_images, n_units) or (..., n_positions).
        groups: Of `groups_of`.
        again: Of `redrawn`.
        counts: Numbers of clusters, ascending.
        smallest_cluster: Groups that a cluster needs to count in a mean.

    Raises:
        ValueError: An activation is not finite.
    """
    apart = distances(values, groups.images, groups.clusters)
    means = partial(mean_distances, apart, clusters=groups.clusters)
    n = len(groups.kept)
    own = groups.of_image
    stability = _agreements(means, own, again.halves, counts, n)
    count = counts[most_stable(stability)]

    def labels_of(found: FloatArray) -> IntArray:
        return np.asarray(cut(tree_of(found), [count])[0])

    def entropies(labels: IntArray) -> FloatArray:
        return mean_entropies(labels, groups.levels, groups.n_levels, smallest_cluster)

    weights = again.weights[:, groups.images]
    clusters = labels_of(means(own, n_groups=n))
    drawn = np.stack([labels_of(means(own, n_groups=n, weights=row)) for row in weights])
    permuted = [
        [entropies(labels_of(means(labels, n_groups=n)))[place] for labels in shuffles]
        for place, shuffles in enumerate(again.within)
    ]
    shuffled = [
        _agreements(means, labels, halves, counts, n).mean(axis=1).max()
        for labels, halves in zip(again.shuffled, again.shuffled_halves, strict=True)
    ]
    return Clustered(
        clusters=clusters,
        values=entropies(clusters),
        drawn=np.stack([entropies(labels) for labels in drawn]),
        permuted=np.array(permuted).T,
        stability=stability,
        shuffled=np.array(shuffled),
        drawn_clusters=drawn,
    )


def most_stable(stability: FloatArray) -> int:
    """The place of the number of clusters with the best mean agreement, the largest of equals.

    Agreement between halves has shape (n_counts, n_splits).
    """
    mean = stability.mean(axis=1)
    return int(np.flatnonzero(mean == mean.max())[-1])


def _agreements(
    means: partial[FloatArray],
    own: npt.NDArray[np.integer],
    halves: npt.NDArray[np.integer],
    counts: Sequence[int],
    n: int,
) -> FloatArray:
    """How alike the clusters of two halves are, by number of clusters and split."""
    found = np.empty((len(counts), len(halves)))
    for split, half in enumerate(halves):
        both = means(own + n * half, n_groups=2 * n)
        one, other = (cut(tree_of(part), counts) for part in (both[:n, :n], both[n:, n:]))
        found[:, split] = [adjusted_rand(a, b) for a, b in zip(one, other, strict=True)]
    return found

"""The clusters of groups at one layer, and the same of images drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.clustering.clusters import adjusted_rand, cut, mean_entropies, tree_of
from bias_audit.analyses.clustering.design import Groups, Redrawn
from bias_audit.analyses.clustering.distances import distances, mean_distances
from bias_audit.analyses.mapping import group_distances
from bias_audit.analyses.mapping.profiles import Sample, profiles
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.cache import Arrays
from bias_audit.errors import AnalysisError


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

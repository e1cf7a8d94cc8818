"""Clusters of groups by their mean distances, how alike two clusterings are, and what they share.

Source of the recipe: the sequel of Krug & Stober 2025 (arXiv:2506.03664).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage
from scipy.stats import entropy

from bias_audit.arrays import FloatArray, IntArray

Integers = npt.NDArray[np.integer]


def tree_of(means: FloatArray) -> FloatArray:
    """Complete linkage of the rows of the similarity 1 - d / max d, scipy's (n_groups - 1, 4).

    Mean distances d of groups have shape (n_groups, n_groups), the diagonal included.
    """
    return np.asarray(linkage(1 - means / means.max(), "complete", "euclidean"))


def cut(tree: FloatArray, counts: Sequence[int]) -> IntArray:
    """Cluster of each group, from 0, for each number of clusters; shape (n_counts, n_groups).

    The clusters of scipy's `cut_tree`, found in a sixth of its time. Numbers of clusters are
    ascending, from 1 to the number of groups.
    """
    n = len(tree) + 1
    found = np.empty((len(counts), n), dtype=np.int64)
    places = {count: place for place, count in enumerate(counts)}
    clusters = np.arange(n)
    for merge, (one, other) in enumerate(tree[:, :2].astype(np.int64)):
        if (place := places.get(n - merge)) is not None:
            found[place] = np.unique(clusters, return_inverse=True)[1]
        clusters[(clusters == one) | (clusters == other)] = n + merge
    if 1 in places:
        found[places[1]] = 0
    return found


def relative_entropies(
    clusters: Integers, levels: Integers, n_levels: Sequence[int]
) -> FloatArray:
    """How far the groups of each cluster share a level, shape (n_clusters, n_attributes).

    The relative entropy (Kullback-Leibler) of the levels of a cluster's groups against the uniform
    distribution, less the least that a cluster of its size can have, over the largest less the
    least. Of L levels with shares p it is log L + sum p log p; the largest, of one level alone,
    is log L. With the entropy H = - sum p log p, and H_even of levels as even as the size allows,
    that is 1 - H / H_even: 0 as even as can be, 1 for one level alone. A single group has no
    value, NaN.

    Args:
        clusters: Of each group, from 0, shape (n_groups,).
        levels: Of each group, shape (n_groups, n_attributes).
        n_levels: Of each attribute.
    """
    n_clusters = int(clusters.max()) + 1
    found = np.full((n_clusters, len(n_levels)), np.nan)
    for place, n in enumerate(n_levels):
        counts = np.bincount(clusters * n + levels[:, place], minlength=n_clusters * n)
        counts = counts.reshape(n_clusters, n)
        size = counts.sum(axis=1)
        even = size[:, None] // n + (np.arange(n) < (size % n)[:, None])
        found[:, place] = 1 - np.divide(
            entropy(counts, axis=1),
            entropy(even, axis=1),
            out=np.full(n_clusters, np.nan),
            where=size > 1,
        )
    return found


def mean_entropies(
    clusters: Integers, levels: Integers, n_levels: Sequence[int], smallest: int
) -> FloatArray:
    """Mean of `relative_entropies` over clusters of at least so many groups, (n_attributes,).

    NaN where no cluster has as many.
    """
    is_large = np.bincount(clusters) >= smallest
    if not is_large.any():
        return np.full(len(n_levels), np.nan)
    return np.asarray(relative_entropies(clusters, levels, n_levels)[is_large].mean(axis=0))


def adjusted_rand(one: Integers, other: Integers) -> float:
    """How alike two clusterings of the same groups are: 1 the same, 0 as expected by chance.

    The adjusted Rand index (Hubert & Arabie 1985, Journal of Classification 2:193-218), of pairs
    that both put together. Clusters are numbers from 0, shape (n_groups,). It is
    scikit-learn's, which takes ten times as long; two clusterings into one cluster, or into single
    groups, are the same.
    """
    width = int(other.max()) + 1
    table = np.bincount(one * width + other).astype(np.float64)
    both, first, second = (
        float((sizes * (sizes - 1)).sum())
        for sizes in (table, np.bincount(one), np.bincount(other))
    )
    expected = first * second / max(1.0, len(one) * (len(one) - 1.0))
    most = (first + second) / 2
    return 1.0 if most == expected else (both - expected) / (most - expected)

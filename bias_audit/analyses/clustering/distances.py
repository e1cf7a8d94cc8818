"""Mean distances of single images of two groups, and clusters of groups by these.

Source: Krug & Stober 2025 (arXiv:2506.03664) and its sequel: euclidean, within a group too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import linkage
from scipy.sparse import csr_array
from scipy.stats import entropy

from bias_audit.arrays import Float32Array, FloatArray, IntArray

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


_BLOCK_VALUES = 2**25
"""Activations held at a time."""
_ROUNDING = 1e-9
MOST_BYTES = 2**30
"""Of the distances of all images, and of the product that is added to them."""
MOST_IMAGES = int((MOST_BYTES / 8) ** 0.5)


def distances(values: Float32Array, images: IntArray, clusters: IntArray) -> Float32Array:
    """Euclidean distance of every two images, shape (n, n); 0 between those of one cluster.

    |x - y|^2 = |x|^2 + |y|^2 - 2 x.y makes them matrix products. The mean image is
    subtracted, because the three terms cancel where images lie close beside their common origin.
    Two images of one person, or near duplicates, are no pair: `mean_distances` leaves them out.

    Args:
        values: Activations, shape (n_images, n_units) or (n_images, n_units, n_positions); may be
            memory-mapped, and is read a few units at a time.
        images: Rows to use, shape (n,).
        clusters: Of these, numbered from 0, shape (n,).

    Raises:
        ValueError: An activation is not finite, or all images have the same.
    """
    n, wide = len(images), int(np.prod(values.shape[2:]))
    step = max(1, _BLOCK_VALUES // (n * wide))
    squares, norms = np.zeros((n, n), dtype=np.float32), np.zeros(n)
    for first in range(0, values.shape[1], step):
        block = values[:, first : first + step][images].reshape(n, -1)
        block = block - block.mean(axis=0, dtype=np.float64).astype(np.float32)
        norms += np.einsum("iu,iu->i", block, block, dtype=np.float64)
        product = block @ block.T
        product *= 2
        squares -= product
    if not np.isfinite(norms).all():
        raise ValueError("expected finite activations, got NaN or infinity; check the weights")
    squares += norms.astype(np.float32)[:, None]
    squares += norms.astype(np.float32)
    np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
    for members in _several(clusters):
        squares[np.ix_(members, members)] = 0
    np.fill_diagonal(squares, 0)
    if not squares.any():
        raise ValueError("all images have the same activations; leave it out of layers")
    return squares


def _several(clusters: IntArray) -> list[IntArray]:
    """Images of each cluster that has more than one."""
    order = np.argsort(clusters, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
    return [own.astype(np.int64) for own in members if len(own) > 1]


def mean_distances(
    apart: Float32Array,
    groups: npt.NDArray[np.integer],
    clusters: IntArray,
    n_groups: int,
    weights: Float32Array | None = None,
) -> FloatArray:
    """Mean distance over the pairs of images of two groups, shape (n_groups, n_groups).

    With W of shape (n_groups, n), which holds the weight of each image in the row of its group, it
    is (W D W') / (W A W'), where A is 1 for pairs of different clusters: no image is ever compared
    with itself, or with another one of the same person. Two groups without such a pair (a group
    of one person, within itself) have the mean over all that have one.

    Args:
        apart: Of `distances`, shape (n, n).
        groups: Of each image, 0 .. n_groups - 1, shape (n,).
        clusters: Of each image, numbered from 0, shape (n,).
        n_groups: Those without images have no pair.
        weights: Of each image, shape (n,); default: 1.
    """
    n = len(groups)
    values = np.ones(n, dtype=np.float32) if weights is None else weights
    rows = csr_array((values, (groups, np.arange(n))), shape=(n_groups, n))
    sums = (rows @ (rows @ apart).T).astype(np.float64)
    size = np.bincount(groups, values, minlength=n_groups).astype(np.float64)
    shape = (n_groups, int(clusters.max()) + 1)
    by_cluster = csr_array((values.astype(np.float64), (groups, clusters)), shape=shape)
    pairs = np.outer(size, size) - (by_cluster @ by_cluster.T).toarray()
    is_known = pairs > _ROUNDING * np.outer(size, size)
    means = np.divide(sums, pairs, out=np.zeros_like(sums), where=is_known)
    means = (means + means.T) / 2
    return np.where(is_known, means, means[is_known].mean())

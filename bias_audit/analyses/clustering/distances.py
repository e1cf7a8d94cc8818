"""Mean distances between the activations of single images of two groups.

Source: Krug & Stober 2025 (arXiv:2506.03664) and its sequel: euclidean, within a group too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from bias_audit.arrays import Float32Array, FloatArray, IntArray

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

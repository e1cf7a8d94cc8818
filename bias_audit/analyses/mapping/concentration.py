"""How concentrated groups are on a map of faces, in bits, against chance.

Source: d'Aquin 2023: the relative entropy of the hits of a concept's images against the hits of
all images. Few images always hit few cells, so that the relative entropy of a small group is high
by chance alone; what labels in random order give is subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from bias_audit.analyses.mapping.face_map import FaceMap
from bias_audit.analyses.mapping.label_permutation import Exchange, exchange, permuted
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.bootstrap import cluster_weights

_BLOCK = 32
"""Draws held at a time."""


@dataclass(frozen=True)
class Hits:
    """What is counted, by intersection and cell of the map, and summed over groups."""

    cells: IntArray
    """Cell of the map of each hit, shape (n_hits,)."""
    n_cells: int
    labels: IntArray
    """Intersection of each hit, shape (n_hits,)."""
    clusters: IntArray
    """Shape (n_hits,)."""
    members: FloatArray
    """1 where an intersection is part of a group, shape (n_groups, n_intersections)."""

    @classmethod
    def of(
        cls, face_map: FaceMap, labels: IntArray, clusters: IntArray, members: FloatArray
    ) -> Hits:
        """Hits of images, those of one cluster and intersection in one cell counted once.

        Args:
            face_map: Where the images lie.
            labels: Intersection of each image, shape (n_images,).
            clusters: Cluster of each image, shape (n_images,).
            members: As the attribute.
        """
        found = np.unique(np.stack([clusters, labels, face_map.cells]), axis=1)
        return cls(found[2], face_map.n_cells, found[1], found[0], members)

    def table(self, labels: IntArray, weights: FloatArray | None = None) -> FloatArray:
        """Hits of each intersection, shape (n_intersections, n_cells).

        Args:
            labels: Intersection of each hit, shape (n_hits,).
            weights: Of each hit, shape (n_hits,); default: 1.
        """
        n_labels = self.members.shape[1]
        places = labels * self.n_cells + self.cells
        counts = np.bincount(places, weights, minlength=n_labels * self.n_cells)
        return counts.reshape(n_labels, self.n_cells).astype(np.float64)


@dataclass(frozen=True)
class Concentration:
    """Relative entropies of the groups, and what chance gives."""

    bits: FloatArray
    """Of each group, shape (n_groups,); NaN for groups without images."""
    information: float
    """About the intersection in the cell of the map, in bits per image: the mean of the relative
    entropies of the intersections, weighted by their hits."""
    permuted: FloatArray
    """Relative entropies under labels in random order, shape (n_draws, n_groups)."""
    permuted_information: FloatArray
    """Shape (n_draws,)."""
    resampled: FloatArray
    """Under clusters of images drawn with replacement, shape (n_resampled, n_groups)."""
    n_fixed: int
    """Hits whose label no permutation can change."""

    @property
    def excess(self) -> FloatArray:
        """Relative entropies beyond the mean under labels in random order, shape (n_groups,)."""
        return np.asarray(self.bits - self.permuted.mean(axis=0), dtype=np.float64)

    @property
    def excess_information(self) -> float:
        """Information beyond the mean under labels in random order."""
        return self.information - float(self.permuted_information.mean())


def relative_entropy(hits: FloatArray, everything: FloatArray, logs: FloatArray) -> FloatArray:
    """Relative entropy, in bits, of where groups lie against where all images lie.

    The sum over cells of p log2(p / q), p being the share of the group's images in a cell and q
    that of all images. A cell that a group hits is hit by all images, so nothing is smoothed.
    Logarithms of counts are those of Grassberger 2003 (arXiv:physics/0307138), because shares of
    few images look concentrated; the value can fall below 0 by chance.

    Args:
        hits: Whole numbers for each group, shape (n_groups, n_cells).
        everything: Of all images, shape (n_cells,), at least the hits of each group.
        logs: See `log_counts`; one for each number of hits.

    Returns:
        Shape (n_groups,); NaN for groups without hits.
    """
    size, total = hits.sum(axis=1), float(everything.sum())
    n = np.where(size > 0, size, 1)
    gain = logs[hits.astype(np.int64)] - logs[everything.astype(np.int64)] + np.log(total)
    bits = ((hits * gain).sum(axis=1) / n - np.log(n)) / np.log(2)
    return np.where(size > 0, bits, np.nan)


def log_counts(largest: int) -> FloatArray:
    """Grassberger's G(n), which takes the place of log n, for n = 0 .. largest; G(0) is 0."""
    n = np.arange(1, largest + 1)
    sign = np.where(n % 2, -1, 1)
    values = digamma(n) + sign * (digamma((n + 1) / 2) - digamma(n / 2)) / 2
    return np.concatenate([[0.0], values])


def concentration(
    hits: Hits, *, n_draws: int, n_resampled: int, rng: np.random.Generator
) -> Concentration:
    """Measure every group under the labels as annotated, in random order, and resampled.

    Labels of all attributes are permuted together, whole clusters of images at a time and only
    among clusters of as many hits: many hits of one person look concentrated, and a group of such
    people would for that alone. The map, which never saw a label, stays as it is.

    Args:
        hits: Of the images.
        n_draws: Permutations.
        n_resampled: Bootstrap draws of clusters.
        rng: Draws both.
    """
    weights = cluster_weights(hits.clusters, n_resampled, rng)
    logs = log_counts(max(len(hits.labels), int(weights.sum(axis=1).max(initial=0))))
    bits, information = _measured(hits, hits.table(hits.labels), logs)
    how = exchange(hits.labels, _cluster_sizes(hits.clusters), hits.clusters)
    draws = [_measured(hits, hits.table(labels), logs) for labels in _in_blocks(how, n_draws, rng)]
    resampled = [
        _measured(hits, hits.table(hits.labels, row.astype(np.float64)), logs)[0]
        for row in weights
    ]
    return Concentration(
        bits=bits,
        information=information,
        permuted=np.array([found for found, _ in draws]),
        permuted_information=np.array([found for _, found in draws]),
        resampled=np.array(resampled),
        n_fixed=how.n_fixed,
    )


def _cluster_sizes(clusters: IntArray) -> IntArray:
    """Hits of the cluster of each hit, shape (n_hits,)."""
    number = np.unique(clusters, return_inverse=True)[1]
    return np.bincount(number)[number].astype(np.int64)


def _in_blocks(how: Exchange, n_draws: int, rng: np.random.Generator) -> Iterator[IntArray]:
    for first in range(0, n_draws, _BLOCK):
        yield from permuted(how, min(_BLOCK, n_draws - first), rng).astype(np.int64)


def _measured(hits: Hits, table: FloatArray, logs: FloatArray) -> tuple[FloatArray, float]:
    """Relative entropy of each group, and the information about the intersection."""
    everything = table.sum(axis=0)
    groups = hits.members @ table
    size = table.sum(axis=1)
    own = relative_entropy(table[size > 0], everything, logs)
    information = float(own @ size[size > 0] / size.sum())
    return relative_entropy(groups, everything, logs), information

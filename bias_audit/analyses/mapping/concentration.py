"""How concentrated groups are on a map of faces, in bits, against chance.

Source: d'Aquin 2023: the relative entropy of the hits of a concept's images against the hits of
all images. Few images always hit few cells, so that the relative entropy of a small group is high
by chance alone; what labels in random order give is subtracted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.special import digamma

from bias_audit.analyses.families import GroupTests, Parents, tested_families
from bias_audit.analyses.mapping.labellings import exchange, permuted
from bias_audit.analyses.mapping.som_and_swarm import nearest_cells, train_map
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Group
from bias_audit.shapes.test_families import HypothesisFamily
from bias_audit.statistics.bootstrap import cluster_weights
from bias_audit.statistics.multiplicity import Resampled, resampling_p

SMALLEST_SIDE, LARGEST_SIDE = 2, 32
_CONSTANT = 1e-6
_BLOCK = 32
"""Draws held at a time."""


@dataclass(frozen=True)
class FaceMap:
    """Where every image lies."""

    cells: IntArray
    """Cell of each image, 0 .. side * side - 1, shape (n_images,)."""
    side: int
    n_axes: int
    """Principal axes that were mapped."""
    kept: float
    """Share of the variance of the standardised activations on these axes."""

    @property
    def n_cells(self) -> int:
        """Cells of the map, those without images included."""
        return self.side**2


def map_faces(
    units: Float32Array,
    clusters: IntArray,
    rng: np.random.Generator,
    *,
    side: int | None,
    axes: int,
    epochs: int,
    sigma: float,
    rate: float,
) -> FaceMap:
    """Train a map on the activations of all images, (n_images, n_units); labels play no part.

    Without a `side` it has the root of 5 sqrt(n) cells along each side for n clusters of images
    (Vesanto & Alhoniemi 2000, IEEE Trans. Neural Networks 11:586).
    """
    scores, kept = principal_scores(units, axes)
    if side is None:
        root = round(np.sqrt(5 * np.sqrt(len(np.unique(clusters)))))
        side = int(np.clip(root, SMALLEST_SIDE, LARGEST_SIDE))
    start = scores[rng.integers(len(scores), size=side * side)].reshape(side, side, -1)
    order = np.concatenate([rng.permutation(len(scores)) for _ in range(epochs)])
    weights = train_map(scores, start, order, sigma=sigma, rate=rate)
    rows, columns = nearest_cells(scores, weights).T
    return FaceMap(np.asarray(rows * side + columns, np.int64), side, scores.shape[1], kept)


def principal_scores(units: Float32Array, most: int) -> tuple[FloatArray, float]:
    """Scores on the first principal axes, (n_images, n_axes), and the share of the variance kept.

    Units, (n_images, n_units), are standardised; constant ones are ignored.
    """
    values = units.astype(np.float64)
    values -= values.mean(axis=0)
    spread = values.std(axis=0)
    used = spread > _CONSTANT * spread.max(initial=0.0)
    values = values[:, used] / spread[used]
    # The smaller of the two products has all eigenvalues that are not 0.
    is_tall = values.shape[0] >= values.shape[1]
    product = values.T @ values if is_tall else values @ values.T
    last = len(product) - 1
    first = max(0, last + 1 - most)
    sizes, axes = scipy.linalg.eigh(product, subset_by_index=[first, last])
    strong = sizes > _CONSTANT * sizes.max()
    scores = values @ axes if is_tall else axes * np.sqrt(np.maximum(sizes, 0))
    kept = float(sizes[strong].sum() / np.trace(product))
    return np.asarray(scores[:, strong][:, ::-1], np.float64), kept


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

        Labels, the intersections, and clusters are those of images, shape (n_images,).
        """
        found = np.unique(np.stack([clusters, labels, face_map.cells]), axis=1)
        return cls(found[2], face_map.n_cells, found[1], found[0], members)

    def table(self, labels: IntArray, weights: FloatArray | None = None) -> FloatArray:
        """Hits of each intersection, shape (n_intersections, n_cells).

        Labels and weights (default: 1) are those of hits, shape (n_hits,).
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
    """Relative entropy of groups against all images over the map, in bits, shape (n_groups,).

    The sum over cells of p log2(p / q), p being the share of the group's images in a cell and q
    that of all images. A cell that a group hits is hit by all images, so nothing is smoothed; a
    group without hits has NaN. Logarithms of counts are those of Grassberger 2003
    (arXiv:physics/0307138), because shares of few images look concentrated; the value can fall
    below 0 by chance.

    Hits are whole numbers, (n_groups, n_cells), those of all images, (n_cells,), at least as many;
    `logs` are those of `log_counts`, one for each number of hits.
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
    """
    weights = cluster_weights(hits.clusters, n_resampled, rng)
    logs = log_counts(max(len(hits.labels), int(weights.sum(axis=1).max(initial=0))))
    bits, information = _measured(hits, hits.table(hits.labels), logs)
    # Hits of the cluster of each hit take the place of strata.
    number = np.unique(hits.clusters, return_inverse=True)[1]
    how = exchange(hits.labels, np.bincount(number)[number], hits.clusters)
    draws = []
    for first in range(0, n_draws, _BLOCK):
        for labels in permuted(how, min(_BLOCK, n_draws - first), rng).astype(np.int64):
            draws.append(_measured(hits, hits.table(labels), logs))
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


def _measured(hits: Hits, table: FloatArray, logs: FloatArray) -> tuple[FloatArray, float]:
    """Relative entropy of each group, and the information about the intersection."""
    everything = table.sum(axis=0)
    groups = hits.members @ table
    size = table.sum(axis=1)
    own = relative_entropy(table[size > 0], everything, logs)
    information = float(own @ size[size > 0] / size.sum())
    return relative_entropy(groups, everything, logs), information


def tested(
    found: Concentration,
    is_measured: Sequence[bool],
    groups: Sequence[Group],
    families: Mapping[str, Sequence[int]],
    plan: Multiplicity,
) -> tuple[float, tuple[HypothesisFamily, ...], tuple[GroupTests, ...]]:
    """Test whether the map gives information about the intersections, then the groups by family.

    `families` are the places of their groups, from coarse to fine. The p-value is that of the
    global hypothesis.
    """
    p_global = resampling_p(found.information, found.permuted_information)
    steps: dict[str, tuple[Resampled, Parents | None]] = {}
    before: list[set[tuple[str, str]]] | None = None
    for name, places in families.items():
        # Relative entropies, standardised by their draws.
        draws = found.permuted[:, list(places)]
        centre, spread = draws.mean(axis=0), draws.std(axis=0)
        spread = np.where(spread > 0, spread, 1)
        observed = ((found.bits[list(places)] - centre) / spread).tolist()
        known = (t if is_measured[i] else None for t, i in zip(observed, places, strict=True))
        levels = [set(groups[place].levels) for place in places]
        parents = None
        if before is not None:
            parents = tuple(
                tuple(i for i, wider in enumerate(before) if wider <= own) for own in levels
            )
        steps[name] = Resampled(tuple(known), (draws - centre) / spread), parents
        before = levels
    return p_global, *tested_families(plan, p_global, steps, len(found.permuted))

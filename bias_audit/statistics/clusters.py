"""How many independent units images are worth, where several show one person.

Satterthwaite (1946), An approximate distribution of estimates of variance components, Biometrics
Bulletin 2:110-114; Carter, Schnepel & Steigerwald (2017), Asymptotic behavior of a t-test robust
to cluster heterogeneity, Review of Economics and Statistics 99:698-709.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.inference import Measured

FEW_CLUSTERS = 30
"""With a smaller effective number a reader is warned: intervals are wide, and a few people decide
the value."""
FEWEST_CLUSTERS = 10
"""With a smaller effective number a target is not measured: in simulations of fewer, intervals
hold their level only by being so wide that they say nothing."""

_EVEN = 0.8


def is_worth_less(n: int, clusters: float | None) -> bool:
    """Whether an effective number of clusters says more than the number of images or clusters.

    Args:
        n: Images or clusters.
        clusters: Effective number; None where it was not found.
    """
    return clusters is not None and clusters <= _EVEN * n


def effective_clusters(sizes: npt.ArrayLike) -> float:
    """Effective number of clusters: (sum m^2)^2 / sum m^4 over the sizes m.

    The variance of an estimate is summed over clusters. Where a cluster's total spreads as its
    size m does, its part of the variance is proportional to m^2, and Satterthwaite's degrees of
    freedom of a sum of parts a is (sum a)^2 / sum a^2. Equal clusters give their number.

    Args:
        sizes: Images of each cluster, shape (n_clusters,); empty clusters count for nothing.

    Returns:
        From 1 to the number of clusters that are not empty.

    Raises:
        ValueError: No cluster has an image, or a size is negative or not finite.
    """
    m = np.asarray(sizes, dtype=np.float64).ravel()
    largest = m.max(initial=0.0)
    if not (np.isfinite(m).all() and m.min(initial=0.0) >= 0 and largest > 0):
        raise ValueError(f"sizes: expected numbers from 0, one of them above it, got {sizes!r}")
    parts = (m / largest) ** 2
    return float(parts.sum() ** 2 / (parts**2).sum())


def effective_size(clusters: npt.NDArray[np.integer]) -> float:
    """Independent observations that a mean over images counts, if a cluster's are all alike.

    (sum m)^2 / sum m^2 for clusters of m images (Kish 1965, Survey Sampling).

    Args:
        clusters: Number of each image's cluster, shape (n_images,), at least one image.
    """
    sizes = np.bincount(clusters).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


@dataclass(frozen=True)
class UnitsOf:
    """The independent units of one side: clusters of images, then what seeds drew."""

    clusters: Mapping[str, int]
    """Unit of each image, by the image's name."""
    seeds: Sequence[str]
    """Names of the units after the clusters."""
    n_clusters: int

    @property
    def total(self) -> int:
        """Length of every influence."""
        return self.n_clusters + len(self.seeds)


@dataclass(frozen=True)
class Joined:
    """Units of both sides together: what shares an image, or a seed, is one."""

    before: IntArray
    """Joint unit of each unit before, shape (n_before,)."""
    after: IntArray
    """Shape (n_after,)."""
    n_units: int
    n_clusters: int
    """The first units are clusters; those of seeds alone follow."""
    n_shared: int
    """Images on both sides."""

    def together(
        self, before: Measured, after: Measured, *, noise: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[Measured, Measured]:
        """Both measures over the joint units, so that `inference.difference` pairs them.

        Args:
            before: Its influence has the shape of `before`.
            after: Its influence has the shape of `after`.
            noise: Standard deviation of each by other causes than which images there are; each
                becomes a unit of its own.
        """
        sides = (before, self.before, (noise[0], 0.0)), (after, self.after, (0.0, noise[1]))
        one, other = (
            replace(
                measured,
                influence=np.concatenate([self._summed(measured.influence, units), extra]),
                weight=self._weight(measured, units),
            )
            for measured, units, extra in sides
        )
        return one, other

    def _weight(self, measured: Measured, units: IntArray) -> FloatArray:
        return self._summed(measured.weight, units[: len(measured.weight)])[: self.n_clusters]

    def _summed(self, values: FloatArray, units: IntArray) -> FloatArray:
        return np.bincount(units, weights=values, minlength=self.n_units).astype(np.float64)


def join(before: UnitsOf, after: UnitsOf) -> Joined:
    """Join the units of two audits through the images and seeds that both have.

    Clusters may differ, as when near duplicates were added: then every connected set of clusters
    is one unit, so that no two units share an image. Units of one side alone stay as they are; a
    difference then has their influence in full, which makes a partial overlap exact.
    """
    shared = [image for image in before.clusters if image in after.clusters]
    edges = [(before.clusters[image], after.clusters[image]) for image in shared]
    places = {name: after.n_clusters + place for place, name in enumerate(after.seeds)}
    edges += [
        (before.n_clusters + place, places[name])
        for place, name in enumerate(before.seeds)
        if name in places
    ]
    ends: npt.NDArray[np.int64] = np.array(edges, dtype=np.int64).reshape(-1, 2)
    size = before.total + after.total
    graph = coo_array(
        (np.ones(len(ends)), (ends[:, 0], before.total + ends[:, 1])), shape=(size, size)
    )
    n_units, labels = connected_components(graph, directed=False)
    of_clusters = [labels[: before.n_clusters], labels[before.total :][: after.n_clusters]]
    is_cluster = np.isin(np.arange(n_units), np.concatenate(of_clusters))
    numbers = np.argsort(np.argsort(~is_cluster, kind="stable"))[labels].astype(np.int64)
    return Joined(
        numbers[: before.total],
        numbers[before.total :],
        int(n_units),
        int(is_cluster.sum()),
        len(shared),
    )

"""Two measures of overlapping images, as contributions of the same independent units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.inference import Measured


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

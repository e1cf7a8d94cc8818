"""Sums over images, of a size that does not grow with them, and the means that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.inference import Measured

ALL: int = 0
"""Place of the group of all images."""
Groups = Mapping[int, int]


@dataclass
class Totals:
    """Of values per image, by group: their sums, numbers, and second moments over clusters.

    Columns are groups x (1 + n_values): the number of images, then the sum of each value. An image
    belongs to as many groups as there are attributes.
    """

    first: FloatArray
    """Shape (n_groups * n_columns,)."""
    second: FloatArray
    """Sum over clusters of the outer product of their sums, shape (columns, columns)."""
    clusters: FloatArray
    """Clusters that have an image in the group, shape (n_groups,)."""
    fourth: FloatArray
    """Sum over clusters of the fourth power of their images in the group, shape (n_groups,)."""

    @classmethod
    def empty(cls, n_groups: int, n_values: int) -> Totals:
        """Before any image."""
        size = n_groups * (1 + n_values)
        first, second = np.zeros(size), np.zeros((size, size))
        return cls(first, second, np.zeros(n_groups), np.zeros(n_groups))

    @classmethod
    def stored(cls, arrays: Mapping[str, FloatArray]) -> Totals:
        """From `vars` of another, which may stand among other arrays."""
        return cls(*(arrays[field.name] for field in fields(cls)))

    @property
    def n_groups(self) -> int:
        """Groups that images are counted in."""
        return len(self.clusters)

    @property
    def n_values(self) -> int:
        """Values of each image."""
        return len(self.first) // self.n_groups - 1

    def add(self, values: FloatArray, member: npt.NDArray[np.bool_], clusters: IntArray) -> None:
        """Count images, whole clusters at a time.

        Values have shape (n, n_values), `member`, whether an image is in a group, (n, n_groups),
        clusters (n,); no cluster comes in another call.
        """
        one = np.concatenate([np.ones((len(values), 1)), values], axis=1)
        rows = (member[:, :, None] * one[:, None, :]).reshape(len(values), -1)
        _, place = np.unique(clusters, return_inverse=True)
        sums = np.zeros((int(place.max(initial=-1)) + 1, rows.shape[1]))
        np.add.at(sums, place, rows)
        self.first += sums.sum(axis=0)
        self.second += sums.T @ sums
        sizes = sums.reshape(len(sums), self.n_groups, -1)[:, :, 0]
        self.clusters += (sizes > 0).sum(axis=0)
        self.fourth += (sizes**4).sum(axis=0)

    @property
    def counts(self) -> IntArray:
        """Images of every group, shape (n_groups,)."""
        return np.rint(self.first.reshape(self.n_groups, -1)[:, 0]).astype(np.int64)


class Means:
    """Means of combinations of values over groups, ready to be compared.

    The second moments are written as a product, M = L L'. The influences `L' a` of a mean with
    gradient a then have the sums of squares and products that those of the clusters have. `unit`
    is what a cluster is, for the reader: "images", or "clusters of images".
    """

    def __init__(self, totals: Totals, *, unit: str) -> None:
        self.totals, self.unit = totals, unit
        values, vectors = np.linalg.eigh(totals.second)
        self._root = vectors * np.sqrt(np.clip(values, 0, None))

    def mean(
        self, groups: Groups, weights: Sequence[float] | FloatArray, *, is_share: bool = True
    ) -> Measured | None:
        """The mean over some images of a weighted sum of their values; None without images.

        Groups are joined (1) and taken away (-1), such as `{0: 1, 3: -1}` for all images but those
        of group 3; weights are of the values, shape (n_values,).
        """
        totals, width = self.totals, 1 + self.totals.n_values
        wanted = np.zeros(totals.n_groups)
        wanted[list(groups)] = list(groups.values())
        sums = wanted @ totals.first.reshape(totals.n_groups, width)
        n = round(float(wanted @ totals.clusters))
        if sums[0] <= 0 or n <= 0:
            return None
        weights = np.asarray(weights, dtype=np.float64)
        value = float(sums[1:] @ weights / sums[0])
        gradient = np.concatenate([[-value], weights]) / sums[0]
        # Delta method: a mean is a ratio of sums, S / N, with the gradient (-S / N, 1) / N.
        influence = self._root.T @ np.outer(wanted, gradient).ravel()
        if n > 1:  # the mean is estimated from the same clusters
            influence = influence * np.sqrt(n / (n - 1))
        return Measured(value, influence, n, self._weight(wanted), self.unit, is_share=is_share)

    def _weight(self, wanted: FloatArray) -> FloatArray:
        """As many equal clusters as these are worth, see `clusters.effective_clusters`."""
        totals, width = self.totals, 1 + self.totals.n_values
        images = totals.second[::width, ::width]
        second, fourth = float(wanted @ images @ wanted), float(wanted @ totals.fourth)
        worth = min(second**2 / fourth if fourth > 0 else 1.0, float(totals.clusters.max()))
        weight = np.zeros(max(1, int(totals.clusters.max())))
        weight[: max(1, int(worth))] = 1 / max(1, int(worth))
        return weight

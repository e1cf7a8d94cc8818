"""Count, mean and squared deviations per group, accumulated batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import FloatArray, IntArray


@dataclass
class Moments:
    """Running moments of activations per group (Chan, Golub & LeVeque 1983).

    Memory is groups x units, whatever the number of images. `mean` and `m2` of a group without
    images are zero; ask `count` first.
    """

    count: IntArray
    """Images per group, shape (n_groups,)."""
    mean: FloatArray
    """Shape (n_groups, *unit_shape)."""
    m2: FloatArray
    """Sum of squared deviations from the mean, shape (n_groups, *unit_shape)."""

    @classmethod
    def empty(cls, n_groups: int, unit_shape: tuple[int, ...]) -> Moments:
        """Moments of no image at all."""
        shape = (n_groups, *unit_shape)
        return cls(np.zeros(n_groups, dtype=np.int64), np.zeros(shape), np.zeros(shape))

    def update(self, values: npt.NDArray[np.floating], groups: IntArray) -> None:
        """Add a batch.

        Args:
            values: Activations, shape (n_batch, *unit_shape).
            groups: Group index per image, shape (n_batch,).
        """
        present, inverse, count = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(inverse, kind="stable")
        starts = np.concatenate(([0], np.cumsum(count)[:-1]))
        batch = values[order].astype(np.float64)
        per_group = (-1, *(1,) * (batch.ndim - 1))
        mean = np.add.reduceat(batch, starts, axis=0) / count.reshape(per_group)
        batch -= mean[inverse[order]]
        m2 = np.add.reduceat(np.square(batch, out=batch), starts, axis=0)
        self._merge(present, count, mean, m2)

    def merged(self, members: list[IntArray]) -> Moments:
        """Moments of unions of groups, such as marginal ones; `members` are the groups of each."""
        result = Moments.empty(len(members), self.mean.shape[1:])
        for new, old in enumerate(members):
            for group in old:
                if self.count[group]:
                    one = slice(int(group), int(group) + 1)
                    result._merge(np.array([new]), self.count[one], self.mean[one], self.m2[one])
        return result

    def _merge(self, groups: IntArray, n: IntArray, mean: FloatArray, m2: FloatArray) -> None:
        shape = (-1, *(1,) * (mean.ndim - 1))
        before = self.count[groups]
        total = before + n
        delta = mean - self.mean[groups]
        self.m2[groups] += m2 + delta**2 * (before * n / total).reshape(shape)
        self.mean[groups] += delta * (n / total).reshape(shape)
        self.count[groups] = total

"""Count, mean and squared deviations per group, accumulated batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.groups import IntArray

FloatArray = npt.NDArray[np.float64]


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
        for group in np.unique(groups):
            batch = values[groups == group].astype(np.float64)
            mean = batch.mean(axis=0)
            self._merge(int(group), len(batch), mean, ((batch - mean) ** 2).sum(axis=0))

    def merged(self, members: list[IntArray]) -> Moments:
        """Moments of unions of groups, such as the marginal groups of the intersections.

        Args:
            members: For each new group, the indices of the groups it unites.
        """
        result = Moments.empty(len(members), self.mean.shape[1:])
        for new, old in enumerate(members):
            for group in old:
                if self.count[group]:
                    result._merge(new, int(self.count[group]), self.mean[group], self.m2[group])
        return result

    def _merge(self, group: int, n: int, mean: FloatArray, m2: FloatArray) -> None:
        total = int(self.count[group]) + n
        delta = mean - self.mean[group]
        self.m2[group] += m2 + delta**2 * (int(self.count[group]) * n / total)
        self.mean[group] += delta * (n / total)
        self.count[group] = total

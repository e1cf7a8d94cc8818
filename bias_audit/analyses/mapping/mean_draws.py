"""Bootstrap draws of group means that no draw leaves without images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.statistics.clusters import effective_clusters, effective_size

_BLOCK_VALUES = 2**23
"""Numbers held at a time: groups x draws x units."""
_UNITS = 128


@dataclass(frozen=True)
class MeanDraws:
    """What is needed to draw the standardised means of some groups.

    A bootstrap of few clusters spreads too little: draws of the mean of k alike clusters have
    (k - 1) / (k + 1) of its variance. Draws are spread about the mean by as much.
    """

    units: npt.NDArray[np.float32]
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    members: tuple[IntArray, ...]
    """Images of each group, none empty."""
    weights: Float32Array
    """Of each image in each draw, positive, shape (n_draws, n_images)."""
    clusters: IntArray
    """Of each image, shape (n_images,)."""
    centre: FloatArray
    """Subtracted from every unit, shape (n_units,)."""
    scale: FloatArray
    """Standard deviation within intersections, shape (n_units,); units with 0 are left out."""

    def blocks(self) -> Iterator[tuple[slice, Float32Array]]:
        """Draws, and their means of some of the units, shape (n_groups, n_some_draws, n_some)."""
        used = np.flatnonzero(self.scale > 0)
        step = max(1, _BLOCK_VALUES // (len(self.members) * _UNITS))
        spread = [_spread(self.clusters[images]) for images in self.members]
        for first in range(0, len(used), _UNITS):
            columns = used[first : first + _UNITS]
            raw = self.units[:, columns].astype(np.float64)
            values = ((raw - self.centre[columns]) / self.scale[columns]).astype(np.float32)
            for start in range(0, len(self.weights), step):
                rows = slice(start, start + step)
                yield rows, _means(values, self.weights[rows], self.members, spread)


def _spread(clusters: IntArray) -> float:
    """Factor on the deviations of a group's draws; 1 for one cluster: its draws are alike."""
    k = effective_size(np.unique(clusters, return_inverse=True)[1])
    return float(np.sqrt((k + 1) / (k - 1))) if k > 1 else 1.0


def _means(
    values: Float32Array,
    weights: Float32Array,
    members: tuple[IntArray, ...],
    spread: list[float],
) -> Float32Array:
    means = np.empty((len(members), len(weights), values.shape[1]), dtype=np.float32)
    for group, images in enumerate(members):
        own = weights[:, images]
        drawn = (own @ values[images]) / own.sum(axis=1, keepdims=True)
        mean = values[images].mean(axis=0)
        means[group] = mean + np.float32(spread[group]) * (drawn - mean)
    return means


def bayesian_weights(clusters: IntArray, n_draws: int, rng: np.random.Generator) -> Float32Array:
    """Weights of the Bayesian bootstrap over clusters of images (Rubin 1981, Ann. Stat. 9:130).

    Each cluster gets a standard exponential weight: first and second moments are those of drawing
    clusters with replacement, but no cluster, and so no small group, is ever left out.

    Returns:
        Shape (n_draws, n_images).
    """
    numbers, cluster = np.unique(clusters, return_inverse=True)
    drawn = rng.standard_exponential((n_draws, len(numbers)), dtype=np.float32)
    return np.asarray(drawn[:, cluster] + np.float32(1e-6))


@dataclass(frozen=True)
class MeanNoise:
    """How far chance alone moves the standardised means of groups, shape (n_groups,) each."""

    variance: FloatArray
    """Averaged over units; NaN for groups without images."""
    freedom: FloatArray
    """Degrees of freedom of the variance at a single unit, at least 1."""

    def of(self, contrasts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Variance of combinations of the means, and Satterthwaite's degrees of freedom.

        Args:
            contrasts: Weight of each group, shape (n_contrasts, n_groups); groups without images
                count for nothing.

        Returns:
            Both of shape (n_contrasts,).
        """
        parts = contrasts**2 * np.nan_to_num(self.variance)
        total = parts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return total, total**2 / (parts**2 / self.freedom).sum(axis=1)


def noise_of_means(
    profiles: Profiles,
    scale: FloatArray,
    units: npt.NDArray[np.float32],
    clusters: IntArray,
    scale_freedom: float,
) -> MeanNoise:
    """Variance by chance alone of each group's standardised mean, between clusters of images.

    The sum over clusters of the squared sum of their deviations from the group's mean, each
    divided by one less the cluster's share of the images, its leverage (CR2 of Bell & McCaffrey
    2002, Survey Methodology 28:169); over the squared number of images. A group of one cluster
    has the variance that the scale says.

    Args:
        profiles: Of the groups, no image in two of them.
        scale: Standard deviation within intersections, shape (n_units,); units with 0 are ignored.
        units: Activations, shape (n_images, n_units); may be memory-mapped.
        clusters: Cluster of each image, shape (n_images,).
        scale_freedom: Degrees of freedom of the scale.
    """
    codes, n_groups = profiles.target.codes, len(profiles.groups)
    images = np.flatnonzero((codes >= 0) & (codes < n_groups))
    pairs, row = np.unique(
        np.stack([codes[images], clusters[images]]), axis=1, return_inverse=True
    )
    group, sizes = pairs[0], np.bincount(row.ravel()).astype(np.float64)
    sums = csr_array((np.ones(len(images)), (row.ravel(), np.arange(len(images)))))
    share = sizes / profiles.counts[group]
    alone = share == 1
    weight = 1 / (np.where(alone, 1, 1 - share) * profiles.counts[group] ** 2)
    used, total = np.flatnonzero(scale > 0), np.zeros(len(group))
    for first in range(0, len(used), _UNITS):
        block = used[first : first + _UNITS]
        means = profiles.means[:, block][codes[images]]
        deviations = (units[:, block][images] - means) / scale[block]
        total += (np.asarray(sums @ deviations) ** 2).sum(axis=1)
    total = np.where(alone, 1, total * weight / max(1, len(used)))
    variance = np.bincount(group, total, minlength=n_groups)
    freedom = np.full(n_groups, scale_freedom)
    for each in np.unique(group[~alone]):
        freedom[each] = max(1.0, effective_clusters(sizes[group == each]) - 1)
    return MeanNoise(np.where(profiles.counts > 0, variance, np.nan), freedom)

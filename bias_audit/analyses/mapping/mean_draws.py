"""Bootstrap draws of group means that no draw leaves without images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.groups import IntArray

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

_BLOCK_VALUES = 2**23
"""Numbers held at a time: groups x draws x units."""
_UNITS = 128


@dataclass(frozen=True)
class MeanDraws:
    """What is needed to draw the standardised means of some groups."""

    units: npt.NDArray[np.float32]
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    members: tuple[IntArray, ...]
    """Images of each group, none empty."""
    weights: Float32Array
    """Of each image in each draw, positive, shape (n_draws, n_images)."""
    centre: FloatArray
    """Subtracted from every unit, shape (n_units,)."""
    scale: FloatArray
    """Standard deviation within intersections, shape (n_units,); units with 0 are left out."""

    def blocks(self) -> Iterator[tuple[slice, Float32Array]]:
        """Draws, and their means of some of the units, shape (n_groups, n_some_draws, n_some)."""
        used = np.flatnonzero(self.scale > 0)
        step = max(1, _BLOCK_VALUES // (len(self.members) * _UNITS))
        for first in range(0, len(used), _UNITS):
            columns = used[first : first + _UNITS]
            raw = self.units[:, columns].astype(np.float64)
            values = ((raw - self.centre[columns]) / self.scale[columns]).astype(np.float32)
            for start in range(0, len(self.weights), step):
                rows = slice(start, start + step)
                yield rows, _means(values, self.weights[rows], self.members)


def _means(
    values: Float32Array, weights: Float32Array, members: tuple[IntArray, ...]
) -> Float32Array:
    means = np.empty((len(members), len(weights), values.shape[1]), dtype=np.float32)
    for group, images in enumerate(members):
        own = weights[:, images]
        means[group] = (own @ values[images]) / own.sum(axis=1, keepdims=True)
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


def noise_of_means(profiles: Profiles, scale: FloatArray, clusters: IntArray) -> FloatArray:
    """Variance by chance alone of each group's standardised mean, averaged over units.

    A group of one image has the variance that the scale says.

    Args:
        profiles: Of the groups.
        scale: Standard deviation within intersections, shape (n_units,).
        clusters: Independent images of each group, shape (n_groups,).

    Returns:
        Shape (n_groups,); NaN for groups without images.
    """
    used = scale > 0
    relative = (profiles.deviations[:, used] / scale[used]) ** 2
    spread = np.where(profiles.counts > 1, relative.mean(axis=1), 1.0)
    variance = spread / np.maximum(clusters, 1)
    return np.asarray(np.where(profiles.counts > 0, variance, np.nan), dtype=np.float64)

"""How far each group's profile lies from the mean over groups, without sampling noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.mean_draws import MeanDraws, noise_of_means
from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.analyses.mapping.squares import Squares
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.statistics.estimate import Estimate


@dataclass(frozen=True)
class Sample:
    """What the bootstrap resamples."""

    units: npt.NDArray[np.float32]
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    clusters: IntArray
    """Shape (n_images,)."""
    weights: Float32Array
    """Of a Bayesian bootstrap, shape (n_draws, n_images)."""
    scale_freedom: float
    """Degrees of freedom of the scale."""
    level: float


def standardised_contrasts(profiles: Profiles, scale: FloatArray) -> FloatArray:
    """Contrasts in within-group standard deviations, shape (n_groups, n_units).

    A unit that is constant within every group has no scale and gets 0 everywhere.
    """
    contrasts = profiles.contrasts
    return np.divide(contrasts, scale, out=np.zeros_like(contrasts), where=scale > 0)


def deviations(
    profiles: Profiles, scale: FloatArray, sample: Sample
) -> tuple[Estimate | None, ...]:
    """Root mean square over units of a profile's standardised contrast, noise subtracted.

    The mean of few images lies away from any reference by chance alone: its squared deviation is
    expected to exceed that of the group by the variance of the contrast. That variance is
    subtracted; a group that does not differ has a lower bound of 0.

    Args:
        profiles: Of the groups.
        scale: Within-group standard deviation by unit, shape (n_units,); units with 0 are ignored.
        sample: Images and bootstrap weights.

    Returns:
        One per group; None for a group without images or whose images do not vary.
    """
    used = np.flatnonzero(scale > 0)
    clusters = clusters_by_group(profiles, sample)
    if len(used) == 0:
        return (None,) * len(clusters)
    observed = (standardised_contrasts(profiles, scale)[:, used] ** 2).mean(axis=1)
    noise, freedom = noise_of_means(
        profiles, scale, sample.units, sample.clusters, sample.scale_freedom
    ).of(_contrasts(clusters > 0))
    squares = Squares(
        observed,
        noise,
        freedom,
        _variances(profiles, scale, sample),
        len(sample.weights),
        len(used),
        sample.scale_freedom,
    )
    return squares.estimates(clusters, sample.level)


def _contrasts(present: npt.NDArray[np.bool_]) -> FloatArray:
    """Every group less the mean over those that have images, shape (n_groups, n_groups)."""
    return np.asarray(np.eye(len(present)) - present / present.sum())


def _variances(profiles: Profiles, scale: FloatArray, sample: Sample) -> FloatArray:
    """Of the draws of each group's mean square contrast, NaN without images, (n_groups,)."""
    present = np.flatnonzero(profiles.counts > 0)
    draws = MeanDraws(
        sample.units,
        tuple(np.flatnonzero(profiles.target.codes == group) for group in present),
        sample.weights,
        sample.clusters,
        profiles.means[present].mean(axis=0),
        scale,
    )
    total = np.zeros((len(present), len(sample.weights)))
    for rows, means in draws.blocks():
        contrasts = means - means.mean(axis=0)
        total[:, rows] += np.einsum("gdu,gdu->gd", contrasts, contrasts, dtype=np.float64)
    found = np.full(len(profiles.groups), np.nan)
    found[present] = (total / (scale > 0).sum()).var(axis=1)
    return found


def clusters_by_group(profiles: Profiles, sample: Sample) -> IntArray:
    """Independent images (people, or sets of near duplicates) of each group, (n_groups,)."""
    codes = profiles.target.codes
    return np.array(
        [len(np.unique(sample.clusters[codes == group])) for group in range(len(profiles.groups))]
    )

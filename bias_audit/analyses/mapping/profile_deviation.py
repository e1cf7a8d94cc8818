"""How far each group's profile lies from the mean over groups, without sampling noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.mapping.mean_draws import noise_of_means
from bias_audit.analyses.mapping.profiles import Profiles
from bias_audit.groups import IntArray
from bias_audit.statistics.bootstrap import Weights, bootstrap_method, percentile_interval
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]

_BLOCK_VALUES = 2**22
"""Numbers held at a time: groups x draws x units."""
_MIN_UNITS = 256


@dataclass(frozen=True)
class Sample:
    """What the bootstrap resamples."""

    units: npt.NDArray[np.float32]
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    clusters: IntArray
    """Shape (n_images,)."""
    weights: Weights
    """Shape (n_draws, n_images)."""
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
    subtracted, and bootstrap draws, which carry the noise twice, are centred on what remains. A
    group that does not differ has a lower bound of 0.

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
    corrected = observed - _noise(profiles, scale, clusters)
    drawn = _draws(profiles, scale, used, sample)
    plain = len(np.unique(sample.clusters)) == len(sample.clusters)
    method = bootstrap_method("images" if plain else "clusters of images", drawn.shape[1])
    result: list[Estimate | None] = []
    for group, n in enumerate(clusters):
        interval = None
        if n > 0:
            centred = drawn[group] - np.nanmean(drawn[group]) + corrected[group]
            interval = percentile_interval(centred, level=sample.level)
        if interval is None:
            result.append(None)
            continue
        value, lower, upper = (_root(x) for x in (corrected[group], *interval))
        result.append(
            Estimate(
                value,
                min(lower, value),
                max(upper, value),
                level=sample.level,
                n=int(n),
                method=f"{method}, sampling noise subtracted",
            )
        )
    return tuple(result)


def _root(square: float) -> float:
    return float(np.sqrt(max(0.0, square)))


def clusters_by_group(profiles: Profiles, sample: Sample) -> IntArray:
    """Independent images (people, or sets of near duplicates) of each group, (n_groups,)."""
    codes = profiles.target.codes
    return np.array(
        [len(np.unique(sample.clusters[codes == group])) for group in range(len(profiles.groups))]
    )


def _noise(profiles: Profiles, scale: FloatArray, clusters: IntArray) -> FloatArray:
    """Expected square of a contrast by chance alone, averaged over units, shape (n_groups,)."""
    variance = np.nan_to_num(noise_of_means(profiles, scale, clusters))
    n = int((profiles.counts > 0).sum())
    own = (1 - 1 / n) ** 2 * variance
    return np.asarray(own + (variance.sum() - variance) / n**2, dtype=np.float64)


def _draws(profiles: Profiles, scale: FloatArray, used: IntArray, sample: Sample) -> FloatArray:
    """Mean square contrast of each group in each draw, shape (n_groups, n_draws).

    It is NaN where a draw has no image of the group, which then is no part of that draw's
    reference either.
    """
    codes, n_groups, n_draws = profiles.target.codes, len(profiles.groups), len(sample.weights)
    members = [np.flatnonzero(codes == group) for group in range(n_groups)]
    centre = np.nanmean(profiles.means, axis=0)
    total = np.zeros((n_groups, n_draws))
    step = max(1, _BLOCK_VALUES // (n_groups * _MIN_UNITS))
    for first in range(0, len(used), _MIN_UNITS):
        block = used[first : first + _MIN_UNITS]
        values = sample.units[:, block].astype(np.float64)
        values = ((values - centre[block]) / scale[block]).astype(np.float32)
        for draw in range(0, n_draws, step):
            weights = sample.weights[draw : draw + step].astype(np.float32)
            total[:, draw : draw + step] += _squares(values, weights, members)
    return total / len(used)


def _squares(
    values: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], members: list[IntArray]
) -> FloatArray:
    """Sum over units of squared contrasts, shape (n_groups, n_draws)."""
    means = np.empty((len(members), len(weights), values.shape[1]), dtype=np.float32)
    sizes = np.stack([weights[:, images].sum(axis=1) for images in members])
    for group, images in enumerate(members):
        size = np.maximum(sizes[group], 1)[:, None]
        means[group] = (weights[:, images] @ values[images]) / size
    present = (sizes > 0).astype(np.float32)
    reference = np.einsum("gd,gdu->du", present, means) / present.sum(axis=0)[:, None]
    means -= reference
    squares = np.einsum("gdu,gdu->gd", means, means, dtype=np.float64)
    return np.where(sizes > 0, squares, np.nan)

"""Group profiles: the mean activation of each unit over the images of each group.

The papers call them Neuron Activation Profiles (Krug, Ratul, Olson & Stober, arXiv:2204.03528).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.alignment import Squares
from bias_audit.analyses.targets import Target, finest_target, targets_of
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.groups import Group
from bias_audit.statistics.clusters import effective_clusters, effective_size
from bias_audit.statistics.estimate import Estimate


@dataclass(frozen=True)
class Profiles:
    """Profiles of all levels of one target at one layer."""

    target: Target
    counts: IntArray
    """Images per group, shape (n_groups,)."""
    means: FloatArray
    """Shape (n_groups, n_units); NaN for groups without images."""
    deviations: FloatArray
    """Sample standard deviation, same shape; NaN for groups with fewer than two images."""

    @property
    def contrasts(self) -> FloatArray:
        """Means less the unweighted mean over the non-empty groups, shape (n_groups, n_units)."""
        return np.asarray(self.means - self.means[self.counts > 0].mean(axis=0), dtype=np.float64)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The declared groups."""
        return self.target.groups


def attribute_targets(subject: Subject) -> tuple[Target, ...]:
    """Every attribute as a target."""
    table = subject.faces.table
    return targets_of(table, [attribute.name for attribute in table.attributes])


def profiles(
    subject: Subject, layer: str, target: Target, moments: Moments | None = None
) -> Profiles:
    """Profiles of a target's groups, united from those of the intersections.

    Args:
        subject: Whose activations.
        layer: One of its layers.
        target: An attribute, some of them, or all intersections.
        moments: Of the intersections over some of the images; default: over all.
    """
    cells = subject.activations.moments(layer) if moments is None else moments
    finest = finest_target(subject.faces.table)
    members = [
        np.array(
            [i for i, cell in enumerate(finest.groups) if set(group.levels) <= set(cell.levels)]
        )
        for group in target.groups
    ]
    merged = cells.merged(members)
    counts = merged.count.astype(np.float64)[:, None]
    means = np.where(counts > 0, merged.mean, np.nan)
    variance = merged.m2 / np.maximum(counts - 1, 1)
    deviations = np.where(counts > 1, np.sqrt(variance), np.nan)
    return Profiles(target, merged.count, means, deviations)


def pooled_deviation(moments: Moments) -> FloatArray:
    """Standard deviation of each unit within the intersections, pooled, shape (n_units,).

    It is 0 for a unit that is constant within every intersection.
    """
    freedom = int(np.maximum(moments.count - 1, 0).sum())
    return np.asarray(np.sqrt(moments.m2.sum(axis=0) / max(1, freedom)), dtype=np.float64)


def pooled_freedom(moments: Moments, clusters: IntArray) -> float:
    """Degrees of freedom of `pooled_deviation`, of independent images; at least 3."""
    return float(max(3, len(np.unique(clusters)) - int((moments.count > 0).sum())))


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
    values: Float32Array, weights: Float32Array, members: tuple[IntArray, ...], spread: list[float]
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


_BLOCK = 1024


def weights_within_groups(
    codes: IntArray, clusters: IntArray, rng: np.random.Generator
) -> IntArray:
    """Draw clusters of images with replacement, as many of each group as it has.

    A cluster counts to the group of its first image.

    Args:
        codes: Group per image, shape (n_images,).
        clusters: Cluster per image, shape (n_images,); any numbers.
        rng: Source of randomness.

    Returns:
        How often each image was drawn, shape (n_images,).
    """
    _, first, cluster = np.unique(clusters, return_index=True, return_inverse=True)
    drawn = np.zeros(len(first), dtype=np.int64)
    for group in np.unique(codes[first]):
        members = np.flatnonzero(codes[first] == group)
        np.add.at(drawn, rng.choice(members, size=len(members)), 1)
    return drawn[cluster]


def weighted_contrasts(
    units: npt.NDArray[np.float32], codes: IntArray, weights: IntArray
) -> FloatArray:
    """Profiles of weighted images less their mean over groups.

    Args:
        units: Activations, shape (n_images, n_units); may be memory-mapped.
        codes: Group per image, shape (n_images,).
        weights: Shape (n_images,).

    Returns:
        Shape (n_present, n_units): of the groups with an image of positive weight, ascending.
    """
    drawn = np.flatnonzero(weights)
    present, group = np.unique(codes[drawn], return_inverse=True)
    total = np.zeros((len(present), units.shape[1]))
    for start in range(0, len(drawn), _BLOCK):
        part = slice(start, start + _BLOCK)
        images = drawn[part]
        by_group = csr_array(
            (weights[images].astype(np.float64), (group[part], np.arange(len(images)))),
            shape=(len(present), len(images)),
        )
        total += by_group @ units[images].astype(np.float64)
    means = total / np.bincount(group, weights[drawn])[:, None]
    return np.asarray(means - means.mean(axis=0), dtype=np.float64)


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

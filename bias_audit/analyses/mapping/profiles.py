"""Group profiles: the mean activation of each unit over the images of each group.

The papers call them Neuron Activation Profiles (Krug, Ratul, Olson & Stober, arXiv:2204.03528).
Means of few images lie apart by chance alone; here is how far, and how far they lie beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import stdtrit

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.small_groups import independent_images
from bias_audit.analyses.targets import Target, attribute_targets, finest_target
from bias_audit.arrays import Float32Array, FloatArray, IntArray
from bias_audit.data.faces import Faces, FaceTable
from bias_audit.data.sampling import stratified_folds
from bias_audit.groups import Attribute, Group, intersections
from bias_audit.statistics.clusters import effective_clusters, effective_size
from bias_audit.statistics.estimate import Estimate

SCORE_INTERVALS = (
    "Intervals contain every distance that the observed one does not contradict (score "
    "intervals). Their width follows from the clusters of images in each group, and from how "
    "many units vary independently, as measured by {draws} draws of a Bayesian bootstrap over "
    "these clusters (Rubin 1981)."
)
"""How intervals of `Squares` are made, for a report."""

_STREAMED = 256
"""Images read at a time."""
_BLOCK_VALUES = 2**23
"""Numbers held at a time: groups x draws x units."""
_UNITS = 128
_NO_SPREAD = 1e-24


@dataclass(frozen=True)
class Halves:
    """Images by what they are used for; no cluster is in both.

    A layout made from group profiles puts units side by side that differ between groups by the
    same chance. Regions tested on the images that made the layout would be larger than those of
    permuted labels even where no group differs.
    """

    placing: IntArray
    """Images whose profiles place the units, shape (n,)."""
    testing: IntArray
    """The others."""


def halves(faces: Faces, rng: np.random.Generator) -> Halves:
    """Split clusters of images at random, alike in every intersection."""
    folds = stratified_folds(faces.table.cells, faces.clusters, 2, rng)
    return Halves(np.flatnonzero(folds == 0), np.flatnonzero(folds == 1))


def moments_of(units: Float32Array, codes: IntArray, n_groups: int, images: IntArray) -> Moments:
    """Moments of groups over some of the images, each in a group, read a few rows at a time.

    Units have shape (n_images, n_units) and may be memory-mapped, codes (n_images,).
    """
    moments = Moments.empty(n_groups, units.shape[1:])
    for first in range(0, len(images), _STREAMED):
        rows = images[first : first + _STREAMED]
        moments.update(units[rows], codes[rows])
    return moments


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

    @classmethod
    def of(cls, target: Target, moments: Moments) -> Profiles:
        """From the moments of the target's groups."""
        counts = moments.count.astype(np.float64)[:, None]
        means = np.where(counts > 0, moments.mean, np.nan)
        spread = np.sqrt(moments.m2 / np.maximum(counts - 1, 1))
        return cls(target, moments.count, means, np.where(counts > 1, spread, np.nan))

    @property
    def contrasts(self) -> FloatArray:
        """Means less the unweighted mean over the non-empty groups, shape (n_groups, n_units)."""
        return np.asarray(self.means - self.contrast_origin, dtype=np.float64)

    @property
    def contrast_origin(self) -> FloatArray:
        """The unweighted mean over the non-empty groups, shape (n_units,)."""
        return np.asarray(self.means[self.counts > 0].mean(axis=0), dtype=np.float64)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The declared groups."""
        return self.target.groups


def profiles(moments: Moments, attributes: Sequence[Attribute], target: Target) -> Profiles:
    """Profiles of a target's groups, united from those of the intersections."""
    cells = [set(cell.levels) for cell in intersections(attributes)]
    members = [
        np.array([i for i, cell in enumerate(cells) if set(group.levels) <= cell])
        for group in target.groups
    ]
    return Profiles.of(target, moments.merged(members))


def marginal_profiles(moments: Moments, table: FaceTable) -> list[Profiles]:
    """Profiles of the levels of every attribute."""
    return [profiles(moments, table.attributes, target) for target in attribute_targets(table)]


def signatures(moments: Moments, table: FaceTable) -> FloatArray:
    """How units respond to the intersections that have images, shape (n_units, n_groups)."""
    cells = Profiles.of(finest_target(table), moments)
    return cells.contrasts[cells.counts > 0].T


@dataclass(frozen=True)
class Sample:
    """The images of a layer, the scale of its units, and what the bootstrap draws."""

    units: Float32Array
    """Activations, shape (n_images, n_units); may be memory-mapped."""
    clusters: IntArray
    """Cluster of each image, shape (n_images,)."""
    weights: Float32Array
    """Of a Bayesian bootstrap, shape (n_draws, n_images)."""
    scale: FloatArray
    """Standard deviation within intersections, shape (n_units,); units with 0 are ignored."""
    scale_freedom: float
    """Degrees of freedom of the scale, of independent images; at least 3."""

    @classmethod
    def of(cls, subject: Subject, layer: str, weights: Float32Array) -> Sample:
        """All images, with the scale of all intersections."""
        units, moments = subject.activations.units(layer), subject.activations.moments(layer)
        clusters, n_groups = subject.faces.clusters, int((moments.count > 0).sum())
        freedom = float(max(3, len(np.unique(clusters)) - n_groups))
        return cls(units, clusters, weights, pooled_deviation(moments), freedom)


def pooled_deviation(moments: Moments) -> FloatArray:
    """Standard deviation of each unit within the intersections, pooled, shape (n_units,).

    It is 0 for a unit that is constant within every intersection.
    """
    freedom = int(np.maximum(moments.count - 1, 0).sum())
    return np.asarray(np.sqrt(moments.m2.sum(axis=0) / max(1, freedom)), dtype=np.float64)


def bayesian_weights(clusters: IntArray, n_draws: int, rng: np.random.Generator) -> Float32Array:
    """Weights of the Bayesian bootstrap over clusters of images, shape (n_draws, n_images).

    Each cluster gets a standard exponential weight (Rubin 1981, Ann. Stat. 9:130): first and
    second moments are those of drawing clusters with replacement, but no cluster, and so no small
    group, is ever left out.
    """
    numbers, cluster = np.unique(clusters, return_inverse=True)
    drawn = rng.standard_exponential((n_draws, len(numbers)), dtype=np.float32)
    return np.asarray(drawn[:, cluster] + np.float32(1e-6))


def drawn_means(
    sample: Sample, members: Sequence[IntArray], centre: FloatArray
) -> Iterator[tuple[slice, Float32Array]]:
    """Draw the standardised means of some groups.

    A bootstrap of few clusters spreads too little: draws of the mean of k alike clusters have
    (k - 1) / (k + 1) of its variance. Draws are spread about the mean by as much.

    Members are the images of each group, none empty; the centre, (n_units,), is subtracted.
    Yielded are some draws, and their means of some of the units, (n_groups, n_some_draws,
    n_some_units).
    """
    used = np.flatnonzero(sample.scale > 0)
    step = max(1, _BLOCK_VALUES // (len(members) * _UNITS))
    spread = []
    for images in members:
        k = effective_size(np.unique(sample.clusters[images], return_inverse=True)[1])
        # Draws of one cluster are all alike: there is nothing to spread.
        spread.append(np.float32(np.sqrt((k + 1) / (k - 1)) if k > 1 else 1.0))
    for first in range(0, len(used), _UNITS):
        columns = used[first : first + _UNITS]
        raw = sample.units[:, columns].astype(np.float64)
        values = ((raw - centre[columns]) / sample.scale[columns]).astype(np.float32)
        for start in range(0, len(sample.weights), step):
            rows = slice(start, start + step)
            weights = sample.weights[rows]
            means = np.empty((len(members), len(weights), len(columns)), dtype=np.float32)
            for group, images in enumerate(members):
                own, mean = weights[:, images], values[images].mean(axis=0)
                drawn = (own @ values[images]) / own.sum(axis=1, keepdims=True)
                means[group] = mean + spread[group] * (drawn - mean)
            yield rows, means


@dataclass(frozen=True)
class MeanNoise:
    """How far chance alone moves the standardised means of groups, shape (n_groups,) each."""

    variance: FloatArray
    """Averaged over units; NaN for groups without images."""
    freedom: FloatArray
    """Degrees of freedom of the variance at a single unit, at least 1."""

    def of(self, contrasts: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Variance of combinations of the means, and Satterthwaite's degrees of freedom.

        Contrasts are weights of groups, shape (n_contrasts, n_groups); those without images count
        for nothing. With parts v_i of f_i degrees of freedom: (sum v_i)^2 / sum(v_i^2 / f_i).
        """
        parts = contrasts**2 * np.nan_to_num(self.variance)
        total = parts.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            return total, total**2 / (parts**2 / self.freedom).sum(axis=1)


def noise_of_means(profiles: Profiles, sample: Sample) -> MeanNoise:
    """Variance by chance alone of each group's standardised mean, between clusters of images.

    The sum over clusters of the squared sum of their deviations from the group's mean, each
    divided by one less the cluster's share of the images, its leverage (CR2 of Bell & McCaffrey
    2002, Survey Methodology 28:169); over the squared number of images. A group of one cluster
    has the variance that the scale says.
    """
    codes, n_groups = profiles.target.codes, len(profiles.groups)
    images = np.flatnonzero((codes >= 0) & (codes < n_groups))
    pairs, row = np.unique(
        np.stack([codes[images], sample.clusters[images]]), axis=1, return_inverse=True
    )
    group, sizes = pairs[0], np.bincount(row.ravel()).astype(np.float64)
    sums = csr_array((np.ones(len(images)), (row.ravel(), np.arange(len(images)))))
    share = sizes / profiles.counts[group]
    alone = share == 1
    weight = 1 / (np.where(alone, 1, 1 - share) * profiles.counts[group] ** 2)
    used, total = np.flatnonzero(sample.scale > 0), np.zeros(len(group))
    for first in range(0, len(used), _UNITS):
        block = used[first : first + _UNITS]
        means = profiles.means[:, block][codes[images]]
        deviations = (sample.units[:, block][images] - means) / sample.scale[block]
        total += (np.asarray(sums @ deviations) ** 2).sum(axis=1)
    total = np.where(alone, 1, total * weight / max(1, len(used)))
    variance = np.bincount(group, total, minlength=n_groups)
    freedom = np.full(n_groups, sample.scale_freedom)
    for each in np.unique(group[~alone]):
        freedom[each] = max(1.0, effective_clusters(sizes[group == each]) - 1)
    return MeanNoise(np.where(profiles.counts > 0, variance, np.nan), freedom)


@dataclass(frozen=True)
class Squares:
    """Squares of contrasts of standardised group means, averaged over units.

    Arrays have shape (n,), one entry for each contrast.
    """

    observed: FloatArray
    """As the images have them, with what noise adds."""
    noise: FloatArray
    """Variance of the contrast by chance alone, averaged over units."""
    freedom: FloatArray
    """Degrees of freedom of `noise` at a single unit."""
    variance: FloatArray
    """Of bootstrap draws of `observed`; NaN where there are none."""
    n_draws: int
    n_units: int
    scale_freedom: float
    """Degrees of freedom of the standard deviations that means are divided by."""

    @property
    def values(self) -> FloatArray:
        """Without the noise; may be negative.

        1 / s^2 is too large by (f - 2) / f for a standard deviation s of f degrees of freedom.
        """
        return np.asarray(self.observed * (1 - 2 / self.scale_freedom) - self.noise)

    def bounds(self, level: float) -> FloatArray:
        """The squares that the observed one does not contradict, shape (2, n).

        With a noise s in each of u independent units, and a scale of f degrees of freedom, the
        value of a square q has the variance (4 s q + 2 s^2 + 2 q^2 / f) / u. It depends on q, so
        that the interval holds every q from which the value lies at most t standard errors away
        (a score interval, as Wilson's 1927 of a share). Units are correlated: u follows from the
        variance of bootstrap draws. t is Student's with u times the freedom of one unit.
        """
        s, value = self.noise, self.values
        with np.errstate(divide="ignore", invalid="ignore"):
            u = (4 * self.observed * s + 2 * s**2) / self.variance
            u = np.clip(u, 1, self.n_units)
            t_squared = stdtrit(u * self.freedom, (1 - level) / 2) ** 2
            middle = value + 2 * t_squared * s / u
            rest = t_squared * (2 * s**2 + 2 * value**2 / self.scale_freedom) / u
            half = np.sqrt(middle**2 - value**2 + rest)
        has_spread = np.nan_to_num(self.variance) > _NO_SPREAD
        return np.where(has_spread, np.stack([middle - half, middle + half]), np.nan)

    def estimates(self, ns: IntArray, level: float) -> tuple[Estimate | None, ...]:
        """Roots of the squares, of `ns` independent images; None where draws have no spread."""
        roots = np.sqrt(np.maximum([self.values, *self.bounds(level)], 0))
        return tuple(
            Estimate(
                float(value),
                float(min(lower, value)),
                float(max(upper, value)),
                level=level,
                n=int(n),
                method="score interval of the squared distance; independent units from "
                f"{self.n_draws} Bayesian bootstrap draws over clusters of images; "
                "sampling noise subtracted",
            )
            if np.isfinite(upper)
            else None
            for (value, lower, upper), n in zip(roots.T, ns, strict=True)
        )


def standardised_contrasts(profiles: Profiles, scale: FloatArray) -> FloatArray:
    """Contrasts in within-group standard deviations, shape (n_groups, n_units).

    A unit that is constant within every group has no scale and gets 0 everywhere.
    """
    contrasts = profiles.contrasts
    return np.divide(contrasts, scale, out=np.zeros_like(contrasts), where=scale > 0)


def deviations(profiles: Profiles, sample: Sample, level: float) -> tuple[Estimate | None, ...]:
    """Root mean square over units of a profile's standardised contrast, noise subtracted.

    The mean of few images lies away from any reference by chance alone: its squared deviation is
    expected to exceed that of the group by the variance of the contrast. That variance is
    subtracted; a group that does not differ has a lower bound of 0. None for a group without
    images or whose images do not vary.
    """
    codes, n_groups = profiles.target.codes, len(profiles.groups)
    used = np.flatnonzero(sample.scale > 0)
    if len(used) == 0:
        return (None,) * n_groups
    independent = independent_images(codes, sample.clusters, n_groups)
    present = np.flatnonzero(independent)
    # Every group less the mean over those that have images.
    contrasts = np.eye(n_groups) - (independent > 0) / len(present)
    noise, freedom = noise_of_means(profiles, sample).of(contrasts)
    observed = (standardised_contrasts(profiles, sample.scale)[:, used] ** 2).mean(axis=1)
    draws = np.zeros((len(present), len(sample.weights)))
    images = [np.flatnonzero(codes == group) for group in present]
    for rows, means in drawn_means(sample, images, profiles.means[present].mean(axis=0)):
        apart = means - means.mean(axis=0)
        draws[:, rows] += np.einsum("gdu,gdu->gd", apart, apart, dtype=np.float64)
    variance = np.full(n_groups, np.nan)
    variance[present] = (draws / len(used)).var(axis=1)
    squares = Squares(
        observed, noise, freedom, variance, draws.shape[1], len(used), sample.scale_freedom
    )
    return squares.estimates(independent, level)

"""From influences to intervals, tests, comparisons and joint draws, all on one scale.

Every number has a score: the quantile of Student's t at which its interval just reaches a given
value. The test of that value and the interval are therefore one statement. Shares have Wilson's
interval with as many observations as their influences say, differences of shares at least that of
pairs which all agree (Tango), and other numbers a symmetric one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.clusters import effective_clusters
from bias_audit.statistics.estimate import Estimate, Scale, agreeing_pairs, wilson_bounds
from bias_audit.statistics.influence import Statistic, average

FEWEST_IN_GROUP: Final = 4.0
"""Effective clusters of a group below which it is not measured."""
_ADDED: Final = 0.25
_NO_SPREAD = 1e-9
_BLOCK = 512
_CHOICE_DRAWS = 20_000
_TINY = float(np.finfo(np.float64).tiny)
_NEAREST_ONE = 1 - 1e-9
_LARGEST_SCORE = 37.0
"""Normal scores beyond have p-values below the smallest float."""


@dataclass(frozen=True)
class Measured:
    """A value with the contributions of independent units to its error."""

    value: float
    influence: FloatArray
    """Of each independent unit: clusters of images, then seeds, shape (n_units,). Measures of one
    subject have the same units."""
    n: int
    """Clusters of images the value rests on."""
    weight: FloatArray
    """How far each cluster can move the value, by sizes alone, shape (n_clusters,)."""
    unit: str
    """What is independent: "images" or "clusters of images"."""
    is_share: bool = True
    """Whether the value lies in [0, 1]."""
    trials: float = np.inf
    """Of shares and their differences: the independent observations that count where the images
    show no spread."""
    seed_freedom: float = 0.0
    """Degrees of freedom of the variance between seeds."""
    choice: float = 1.0
    """Share of the error rate that is left to this number, because its layer was chosen among
    several; 1 where nothing was chosen."""
    offset: float = 0.0
    """What was taken away from a share, such as what guessing gives."""
    hidden: float = 0.0
    """Variance beyond the contributions, of parts that show no spread."""

    @property
    def clusters(self) -> float:
        """Effective number of clusters, from their sizes."""
        return effective_clusters(self.weight)

    @property
    def standard_error(self) -> float:
        """Square root of the sum of squared contributions and of what these do not show."""
        return float(np.sqrt((self.influence**2).sum() + self.hidden))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance, that of seeds joined by Satterthwaite's rule.

        At least 1: what rests on less is refused before (`clusters.FEWEST_CLUSTERS`).
        """
        # (v + s)^2 / (v^2 / f + s^2 / f_s): a sum of the variances of images, v, and of seeds, s
        images = float((self.influence[: len(self.weight)] ** 2).sum())
        seeds = float((self.influence[len(self.weight) :] ** 2).sum())
        of_images = max(1.0, self.clusters - 1)
        if seeds <= 0 or self.seed_freedom <= 0:
            return of_images
        own = images**2 / of_images + seeds**2 / self.seed_freedom
        return max(1.0, (images + seeds) ** 2 / own)

    @property
    def counted(self) -> float:
        """Independent observations that a share's interval counts: value (1 - value) / variance.

        Where images show no spread, such as at an AUC of 1, these are `trials`. Near that, both
        count: what a quarter of an observation among the trials would add is added to both sides.
        """
        if self.standard_error <= _NO_SPREAD and np.isfinite(self.trials):
            return self.trials
        share = self.value + self.offset
        added = _ADDED / self.trials
        spread = share * (1 - share) + added
        variance = self.standard_error**2 + added / self.trials
        return spread / variance if spread > 0 and variance > 0 else float(self.n)

    def __sub__(self, other: Measured) -> Measured:
        """The difference, image by image."""
        return Measured(
            self.value - other.value,
            self.influence - other.influence,
            min(self.n, other.n),
            self.weight + other.weight,
            self.unit,
            is_share=False,
            trials=min(self.trials, other.trials),
            seed_freedom=max(self.seed_freedom, other.seed_freedom),
            choice=min(self.choice, other.choice),
            hidden=self.hidden + other.hidden,
        )

    def above(self, constant: float) -> Measured:
        """The share minus a number without error, such as what guessing gives."""
        return replace(self, value=self.value - constant, offset=self.offset + constant)


def too_unequal(found: Measured | Estimate) -> str | None:
    """Why a group's value rests on too few people to have an interval; None where it does not."""
    if found.clusters is None or found.clusters >= FEWEST_IN_GROUP:
        return None
    return (
        f"most of its images show few people ({found.n} in all, worth {found.clusters:.1f} of "
        f"equal size; {FEWEST_IN_GROUP:g} are needed)"
    )


def by_cluster(influence: FloatArray, clusters: IntArray, n_units: int) -> FloatArray:
    """Sum the influences of the images of one cluster.

    From images to clusters, numbered 0 .. n_units - 1, both (n_images,), to (n_units,).
    """
    return np.bincount(clusters, weights=influence, minlength=n_units).astype(np.float64)


def measured(
    statistic: Statistic,
    clusters: IntArray,
    *,
    n_clusters: int,
    n_seeds: int = 0,
    widened: float = 1.0,
    is_share: bool = True,
) -> Measured:
    """A statistic ready to be compared with others of the same units.

    The statistic has influences, (n_images,), the clusters of its images are numbered 0 ..
    n_clusters - 1; `n_clusters` are all that others may be about, `n_seeds` units come after them.
    `widened` is a factor on the error, such as `widening`.
    """
    weight = by_cluster(statistic.weight, clusters, n_clusters)
    n = int(np.count_nonzero(weight))
    is_single = n == np.count_nonzero(statistic.weight)
    return Measured(
        value=statistic.value,
        influence=by_cluster(statistic.influence * widened, clusters, n_clusters + n_seeds),
        n=n,
        weight=weight,
        unit="images" if is_single else "clusters of images",
        is_share=is_share,
        trials=statistic.trials / widened**2,
        hidden=statistic.hidden * widened**2,
    )


def combined(weights: Sequence[float] | FloatArray, measures: Sequence[Measured]) -> Measured:
    """A weighted sum of numbers about the same units, such as a contrast of groups.

    Weights have shape (n_measures,), at least one.
    """
    pairs = list(zip(weights, measures, strict=True))
    observations = sum(w**2 / m.trials for w, m in pairs)
    return replace(
        measures[0],
        value=float(sum(w * m.value for w, m in pairs)),
        influence=np.asarray(sum(w * m.influence for w, m in pairs)),
        n=sum(m.n for w, m in pairs if w),
        weight=np.asarray(sum(abs(w) * m.weight for w, m in pairs)),
        is_share=False,
        trials=float(1 / observations) if observations > 0 else np.inf,
        seed_freedom=max(m.seed_freedom for m in measures),
        choice=min(m.choice for m in measures),
        offset=0.0,
        hidden=float(sum(w**2 * m.hidden for w, m in pairs)),
    )


def share_estimate(
    hits: npt.NDArray[np.bool_ | np.floating],
    clusters: npt.NDArray[np.integer],
    *,
    level: float,
    widened: float = 1.0,
    choice: float = 1.0,
) -> Estimate | None:
    """A share of images with its interval; None without images.

    Hits say which images have the property, or are a number in [0, 1] for each; clusters are any
    numbers, both (n_images,). `widened` is a factor on the error, such as `widening` of
    cross-validated predictions, `choice` the share of the error rate that the choice of a layer
    left.
    """
    if not len(hits):
        return None
    numbers, own = np.unique(clusters, return_inverse=True)
    statistic = average(hits, own)
    found = measured(statistic, own, n_clusters=len(numbers), widened=widened)
    return estimate(replace(found, choice=choice), level=level)


def widening(n_folds: int, dependence: float) -> float:
    """How much wider the spread of a cross-validated value is than its test images alone show.

    Every image also trains probes that predict others. Nadeau & Bengio 2003 (Machine Learning
    52:239-281) correct the variance of K-fold values by 1 + K / (K - 1), which is right for a
    probe that depends wholly on its training images, as on null data; a probe that would be the
    same with other training images needs no correction. In between, the root of `dependence` keeps
    the coverage of 95 % intervals near 95 % in simulations; `dependence` itself falls short.
    There are at least 2 folds; `dependence` is the share of the variance of a probe's scores that
    depends on its training images, in [0, 1].
    """
    share = float(np.sqrt(min(1.0, max(0.0, dependence))))
    return float(np.sqrt(1 + share * n_folds / (n_folds - 1)))


def bounds(measured: Measured, quantile: float) -> tuple[float, float]:
    """The interval that reaches so many quantiles of Student's t to either side.

    The quantile, such as 1.96, is not negative.
    """
    value, error = measured.value, measured.standard_error
    if measured.is_share:
        offset = measured.offset
        lower, upper = wilson_bounds(value + offset, measured.counted, quantile)
        return lower - offset, upper - offset
    half = max(quantile * error, agreeing_pairs(measured.trials, quantile))
    if np.isfinite(measured.trials):  # a difference of shares
        return max(-1.0, value - half), min(1.0, value + half)
    return value - half, value + half


def score(measured: Measured, null: float = 0.0) -> float:
    """The quantile at which the interval just reaches `null`, negative where it is below it."""
    distance = measured.value - null
    share = null + measured.offset
    if measured.is_share and 0 < share < 1:
        return float(distance * np.sqrt(measured.counted / (share * (1 - share))))
    error = measured.standard_error  # else Wald's score, or Tango's where pairs are counted
    found = abs(distance) / error if error > _NO_SPREAD else np.inf
    if np.isfinite(measured.trials):
        rest = max(1 - abs(distance), _TINY)
        found = min(found, float(np.sqrt(measured.trials * abs(distance) / rest)))
    elif not np.isfinite(found):
        found = 0.0  # neither spread nor a count of pairs: nothing is known of the error
    return float(np.sign(distance) * found)


def normal_score(measured: Measured, null: float = 0.0) -> float:
    """The score as a standard normal number: what has the same p-value under Student's t.

    Where a layer was chosen, the p-value is divided by the share of the error rate that is left.
    """
    found = score(measured, null)
    p_value = min(0.5, float(stdtr(measured.freedom, -abs(found))) / measured.choice)
    return float(np.sign(found) * min(_LARGEST_SCORE, -ndtri(max(p_value, _TINY))))


def quantile_for(measured: Measured, level: float) -> float:
    """The quantile of Student's t of a two-sided interval of this coverage."""
    tail = (1 - level) / 2 * measured.choice
    return -float(stdtrit(measured.freedom, tail))


def quantile_of(measured: Measured, normal: float) -> float:
    """The quantile of Student's t that is as rare as a normal number, as joint draws give it."""
    tail = float(ndtr(-abs(normal))) * measured.choice
    return float(-np.sign(normal) * stdtrit(measured.freedom, max(tail, _TINY)))


def estimate(measured: Measured, *, level: float) -> Estimate:
    """A value with its interval."""
    method = f"clustered influence, Student's t, {measured.unit}"
    if measured.is_share:
        method = f"score interval, {method}"
    if measured.choice < 1:
        method += ", allowing for the choice of the layer"
    lower, upper = bounds(measured, quantile_for(measured, level))
    scale: Scale = "identity"
    effective = None
    if measured.is_share and not measured.offset:
        scale, effective = "wilson", measured.counted
    elif not measured.is_share and np.isfinite(measured.trials):
        scale, effective = "paired", measured.trials
    return Estimate(
        measured.value,
        lower,
        upper,
        level=level,
        n=measured.n,
        method=method,
        scale=scale,
        effective=effective,
        freedom=measured.freedom,
        clusters=measured.clusters,
        choice=measured.choice,
    )


def difference(one: Measured, other: Measured, *, level: float) -> Estimate:
    """One value minus another over the same images, paired."""
    return estimate(one - other, level=level)


def independent_difference(one: Estimate, other: Estimate) -> Estimate:
    """One estimate minus another that shares nothing with it, by Newcombe's square-and-add.

    The distances of the bounds from the values add in squares (MOVER; Newcombe 1998, Statistics in
    Medicine 17:873-890), so intervals that are wider on one side stay so. Where both rest on the
    same images the interval is wider than it need be.

    Raises:
        ValueError: The levels differ.
    """
    if one.level != other.level:
        raise ValueError(f"expected intervals of one level, got {one.level} and {other.level}")
    value = one.value - other.value
    below = float(np.hypot(one.value - one.lower, other.upper - other.value))
    above = float(np.hypot(one.upper - one.value, other.value - other.lower))
    known = [each.freedom for each in (one, other) if each.freedom is not None]
    return Estimate(
        value,
        value - below,
        value + above,
        level=one.level,
        n=min(one.n, other.n),
        method="difference of two intervals by square-and-add (Newcombe)",
        freedom=min(known, default=None),
    )


def p_above(measured: Measured, null: float = 0.0) -> float:
    """One-sided p-value that the value exceeds `null` by chance; never 0."""
    return max(_TINY, float(ndtr(-normal_score(measured, null))))


def p_apart(measured: Measured, null: float = 0.0) -> float:
    """Two-sided p-value that the value differs from `null` by chance; never 0."""
    return min(1.0, max(_TINY, float(2 * ndtr(-abs(normal_score(measured, null))))))


def choice_among(
    measures: Sequence[Measured], rng: np.random.Generator, *, level: float = 0.99
) -> float:
    """Share of the error rate left to one of several numbers that was chosen by their values.

    Intervals that hold for all of them at once hold for the chosen one. They take the quantile of
    the largest absolute error among joint draws, which knows how alike the numbers are: layers of
    one backbone cost far less than as many independent ones. The share is smaller at higher
    levels, so that of 99 % is a little cautious at 95 %.
    """
    if len(measures) < 2:  # noqa: PLR2004
        return 1.0
    # c with P(max |z| <= c) = level; a normal interval that reaches c alone has the error rate
    # 2 Phi(-c), which is this share of 1 - level
    largest = np.abs(joint_draws(measures, _CHOICE_DRAWS, rng)).max(axis=1)
    critical = float(np.quantile(largest, level))
    return float(max(1 / len(measures), min(1.0, 2 * ndtr(-critical) / (1 - level))))


def joint_draws(
    measures: Sequence[Measured], n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Joint draws of the errors of many measures, as standard normal numbers.

    A multiplier bootstrap: every independent unit gets one normal multiplier per draw, which all
    measures share (Chernozhukov, Chetverikov & Kato 2013, Annals of Statistics 41:2786-2819). To
    be compared with `normal_score`, whose t-distribution knows how few the units are. Measures are
    of one subject, so that their units correspond. The result has shape (n_draws, n_measures);
    draws of a measure without spread are independent of the others.
    """
    # z_k = sum over units u of e_u psi_uk / se_k with e_u ~ N(0, 1), the same for all k, so that
    # the z are normal with the correlations that the measures' errors have
    influence = np.stack([measure.influence for measure in measures], axis=1)
    errors = np.sqrt((influence**2).sum(axis=0))
    has_spread = errors > _NO_SPREAD
    scaled = np.divide(influence, errors, out=np.zeros_like(influence), where=has_spread)
    if influence.shape[1] < influence.shape[0]:
        # the draws' covariance is all that matters: of fewer numbers, with the same law
        values, vectors = np.linalg.eigh(scaled.T @ scaled)
        scaled = (vectors * np.sqrt(np.clip(values, 0, None))).T
    parts = []
    for start in range(0, n_draws, _BLOCK):
        size = min(_BLOCK, n_draws - start)
        parts.append(rng.standard_normal((size, len(scaled))) @ scaled)
    draws = np.concatenate(parts) if parts else np.empty((0, len(measures)))
    alone = np.flatnonzero(~has_spread)
    draws[:, alone] = rng.standard_normal((n_draws, len(alone)))
    return draws


def correlation_estimate(measured: Measured, *, level: float) -> Estimate:
    """A correlation with an interval that is symmetric on Fisher's z scale, so within [-1, 1]."""
    # z = artanh r has the derivative 1 / (1 - r^2), so half the width is t se / (1 - r^2)
    value = float(np.clip(measured.value, -_NEAREST_ONE, _NEAREST_ONE))
    half = quantile_for(measured, level) * measured.standard_error / (1 - value**2)
    lower, upper = (float(np.tanh(np.arctanh(value) + side * half)) for side in (-1, 1))
    return replace(
        estimate(measured, level=level),
        lower=min(lower, measured.value),
        upper=max(upper, measured.value),
        method=f"clustered influence on Fisher's z scale, Student's t, {measured.unit}",
        scale="identity",
        effective=None,
    )

"""From influences to intervals, comparisons and joint draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm

from bias_audit.statistics import auc_interval, proportions
from bias_audit.statistics.estimate import Estimate

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_NO_SPREAD = 1e-9
_BLOCK = 512
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Measured:
    """A value with the contributions of independent units to its error."""

    value: float
    influence: FloatArray
    """Of each independent unit: clusters of images, then seeds, shape (n_units,). Measures of one
    subject have the same units."""
    n: int
    """Clusters of images the value rests on."""
    smallest: int
    """Of those, about how many show the smallest class."""
    unit: str
    """What is independent: "images" or "clusters of images"."""
    is_share: bool = True
    """Whether the value lies in [0, 1]."""
    trials: float | None = None
    """Of a mean over images: the independent observations that Wilson's interval counts, fewer
    than `n` where predictions depend on each other; None for a ranking or a mean of classes."""

    @property
    def standard_error(self) -> float:
        """Square root of the sum of squared contributions."""
        return float(np.sqrt((self.influence**2).sum()))

    def __sub__(self, other: Measured) -> Measured:
        """The difference, image by image."""
        return Measured(
            self.value - other.value,
            self.influence - other.influence,
            min(self.n, other.n),
            min(self.smallest, other.smallest),
            self.unit,
            is_share=False,
        )


def by_cluster(influence: FloatArray, clusters: IntArray, n_units: int) -> FloatArray:
    """Sum the influences of the images of one cluster.

    Args:
        influence: Shape (n_images,).
        clusters: Number of each image's cluster, in 0 .. n_units - 1, shape (n_images,).
        n_units: Length of the result.
    """
    return np.bincount(clusters, weights=influence, minlength=n_units).astype(np.float64)


def widening(n_folds: int, dependence: float) -> float:
    """How much wider a cross-validated value spreads than the images it is tested on say.

    Every image also trains probes that predict others. Nadeau & Bengio 2003 (Machine Learning
    52:239-281) correct the variance of K-fold values by 1 + K / (K - 1), which is right for a
    probe that depends wholly on its training images, as on null data; a probe that would be the
    same with other training images needs no correction. In between, the root of `dependence` keeps
    the coverage of 95 % intervals near 95 % in simulations; `dependence` itself falls short of it.

    Args:
        n_folds: Folds of the cross-validation, at least 2.
        dependence: Share of the variance of a probe's scores that depends on its training images,
            in [0, 1].
    """
    share = float(np.sqrt(min(1.0, max(0.0, dependence))))
    return float(np.sqrt(1 + share * n_folds / (n_folds - 1)))


def estimate(measured: Measured, *, level: float) -> Estimate:
    """A value with its interval.

    Shares have an interval that is symmetric on the logit scale, so that it stays within (0, 1).
    A share without spread, such as an AUC of exactly 1, gets a score interval, never a point.
    """
    se, z = measured.standard_error, float(norm.ppf((1 + level) / 2))
    value, n = measured.value, measured.n
    if not measured.is_share:
        method = f"clustered influence, {measured.unit}"
        lower, upper = value - z * se, value + z * se
        return Estimate(value, lower, upper, level=level, n=n, method=method)
    if not 0 < value < 1 or se < _NO_SPREAD:
        return _without_spread(measured, level)
    half = z * se / (value * (1 - value))
    lower, upper = (float(expit(logit(value) + side * half)) for side in (-1, 1))
    method = f"clustered influence on the logit scale, {measured.unit}"
    return Estimate(value, lower, upper, level=level, n=n, method=method, scale="logit")


def score_error(value: float, smallest: int, n: int, *, trials: float | None = None) -> float:
    """Standard error of a share of exactly 0 or 1, from its score interval.

    Args:
        value: 0 or 1.
        smallest: Images of the smallest class.
        n: Independent units of all classes.
        trials: Of a mean over images: the independent observations.
    """
    level = 0.95
    lower, upper = _score_interval(value, smallest, n, level=level, trials=trials)
    return max(value - lower, upper - value) / float(norm.ppf((1 + level) / 2))


def _score_interval(
    value: float, smallest: int, n: int, *, level: float, trials: float | None
) -> tuple[float, float]:
    if trials is not None:
        return proportions.wilson_interval(value, trials, level=level)
    m = max(1, min(smallest, n))
    lower, upper = auc_interval.auc_score_interval(value, m, max(1, n - m), level=level)
    wilson = proportions.wilson_interval(value, m, level=level)
    return min(lower, wilson[0]), max(upper, wilson[1])


def _without_spread(measured: Measured, level: float) -> Estimate:
    value, n, trials = measured.value, measured.n, measured.trials
    bounds = _score_interval(value, measured.smallest, n, level=level, trials=trials)
    if trials is None:
        method = f"{auc_interval.METHOD}, or Wilson's where wider"
        return Estimate(value, *bounds, level=level, n=n, method=method)
    effective = trials if trials < n else None
    method = proportions.METHOD + ("" if effective is None else ", widened for refitting")
    return Estimate(
        value, *bounds, level=level, n=n, method=method, scale="wilson", effective=effective
    )


def difference(one: Measured, other: Measured, *, level: float) -> Estimate:
    """One value minus another over the same images, paired.

    Where either has no spread the interval joins the two separate ones by Newcombe's
    square-and-add rule (MOVER), which ignores the pairing.
    """
    paired = one - other
    first, second = estimate(one, level=level), estimate(other, level=level)
    if one.standard_error > _NO_SPREAD and other.standard_error > _NO_SPREAD:
        return estimate(paired, level=level)
    return independent_difference(first, second)


def independent_difference(one: Estimate, other: Estimate) -> Estimate:
    """One estimate minus another that shares nothing with it, by Newcombe's square-and-add.

    The distances of the bounds from the values add in squares (MOVER; Newcombe 1998, Statistics in
    Medicine 17:873-890), so intervals that are wider on one side stay so. Where both rest on the
    same images the interval is wider than it need be.

    Args:
        one: Of the same level as the other.
        other: What is subtracted.

    Raises:
        ValueError: The levels differ.
    """
    if one.level != other.level:
        raise ValueError(f"expected intervals of one level, got {one.level} and {other.level}")
    value = one.value - other.value
    below = float(np.hypot(one.value - one.lower, other.upper - other.value))
    above = float(np.hypot(one.upper - one.value, other.value - other.lower))
    return Estimate(
        value,
        value - below,
        value + above,
        level=one.level,
        n=min(one.n, other.n),
        method="difference of two intervals by square-and-add (Newcombe)",
    )


def p_above(measured: Measured, null: float = 0.0) -> float:
    """One-sided p-value that the value exceeds `null` by chance; 1 without spread, never 0."""
    se = measured.standard_error
    return max(_TINY, float(norm.sf((measured.value - null) / se))) if se > _NO_SPREAD else 1.0


def studentised_draws(
    measures: Sequence[Measured], n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Joint draws of the errors of many measures, each divided by its standard error.

    A multiplier bootstrap: every independent unit gets one normal multiplier per draw, which all
    measures share (Chernozhukov, Chetverikov & Kato 2013, Annals of Statistics 41:2786-2819).

    Args:
        measures: Of one subject, so that their units correspond.
        n_draws: Number of draws.
        rng: Source of the multipliers.

    Returns:
        Shape (n_draws, n_measures); 0 for a measure without spread.
    """
    influence = np.stack([measure.influence for measure in measures], axis=1)
    errors = np.sqrt((influence**2).sum(axis=0))
    scaled = np.divide(influence, errors, out=np.zeros_like(influence), where=errors > _NO_SPREAD)
    parts = []
    for start in range(0, n_draws, _BLOCK):
        size = min(_BLOCK, n_draws - start)
        parts.append(rng.standard_normal((size, len(influence))) @ scaled)
    return np.concatenate(parts) if parts else np.empty((0, len(measures)))

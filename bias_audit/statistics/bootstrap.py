"""Resampling whole clusters of images, and intervals from the draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from bias_audit.arrays import FloatArray, IntArray
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import Measured

Weights = npt.NDArray[np.uint16]

_NO_SPREAD = 1e-12


def cluster_weights(clusters: IntArray, n_draws: int, rng: np.random.Generator) -> Weights:
    """Draw as many clusters as there are, with replacement, `n_draws` times.

    Clusters are any numbers, (n_images,). The result, (n_draws, n_images), is how often each
    image's cluster was drawn: images of one cluster have the same weight, and over clusters the
    weights of a draw sum to their number.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    n_clusters = int(cluster.max(initial=-1)) + 1
    weights = np.empty((n_draws, len(cluster)), dtype=np.uint16)
    for draw in range(n_draws):
        drawn = np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)
        weights[draw] = drawn[cluster]
    return weights


def percentile_interval(
    draws: npt.NDArray[np.floating], *, level: float
) -> tuple[float, float] | None:
    """The central interval of the draws that have a value; None when they have no spread.

    Without spread (an AUC of exactly 1, say) a bootstrap knows nothing about what it did not see:
    use a score interval there, never a point.
    """
    finite = draws[np.isfinite(draws)]
    if len(finite) == 0 or np.ptp(finite) < _NO_SPREAD:
        return None
    lower, upper = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(lower), float(upper)


def bootstrapped(
    value: float, draws: npt.NDArray[np.floating], *, level: float, n: int, method: str
) -> Estimate:
    """A value with the central interval of its draws, which never leaves it out."""
    lower, upper = percentile_interval(draws, level=level) or (value, value)
    ends = float(min(lower, value)), float(max(upper, value))
    return Estimate(float(value), *ends, level=level, n=n, method=method)


def bootstrap_method(unit: str, n_draws: int) -> str:
    """How an interval was made, for `Estimate.method`; `unit` is "images" or "clusters"."""
    return f"percentile bootstrap over {unit}, {n_draws} draws"


def mean_of(measures: Sequence[Measured]) -> Measured:
    """The mean of several numbers about the same images, at least one; draws add no error."""
    value = float(np.mean([measure.value for measure in measures]))
    influence = np.mean([measure.influence for measure in measures], axis=0)
    hidden = float(np.mean([measure.hidden for measure in measures]))
    return replace(measures[0], value=value, influence=np.asarray(influence), hidden=hidden)


def compared_with_a_further_draw(by_layer: Sequence[Sequence[Measured]]) -> tuple[Measured, ...]:
    """The mean over draws at every layer, with the error of a further draw in its place.

    Between n draws of variance s^2 that error has the variance s^2 (1 + 1 / n), and n - 1 degrees
    of freedom: the layers of one draw share its weights, so further layers add little. The
    variance of a layer is its own or the mean over layers, whichever is larger; the spread between
    draws holds some of the images' own variance too. Both make it rather too large. Each layer has
    one number for each draw, at least two, whose influences have units for the draws after the
    clusters; the result has one number for each layer.
    """
    means = [mean_of(draws) for draws in by_layer]
    n = len(by_layer[0])
    off = np.array([[draw.value for draw in draws] for draws in by_layer])
    off -= off.mean(axis=1, keepdims=True)
    own = (off**2).sum(axis=1) / (n - 1)
    variances = np.maximum(own, own.mean()) * (1 + 1 / n)
    result = []
    for mean, deviations, variance in zip(means, off, variances, strict=True):
        size = float(np.sqrt((deviations**2).sum()))
        unit = deviations / size if size > 0 else np.full(n, 1 / np.sqrt(n))
        influence = mean.influence.copy()
        at = len(mean.weight)
        influence[at : at + n] += unit * np.sqrt(variance)
        result.append(replace(mean, influence=influence, seed_freedom=float(n - 1)))
    return tuple(result)


def mean_over_repetitions(
    values: FloatArray,
    *,
    level: float,
    within: tuple[float, float] = (-np.inf, np.inf),
    method: str = "Student's t over {n} repetitions",
) -> Estimate:
    """Mean of independent repetitions, with Student's t interval.

    Values, (n_repetitions,), are at least two. The interval ends at `within`, the smallest and
    largest value there can be; `method` says how it is made, of n repetitions.
    """
    n, mean = len(values), float(values.mean())
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    lower, upper = max(mean - half, within[0]), min(mean + half, within[1])
    return Estimate(mean, lower, upper, level=level, n=n, method=method.format(n=n))


def mean_over_pairs(
    values: FloatArray, *, level: float, within: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
    """Mean of a number that every pair of independent repetitions has.

    Pairs share repetitions, so the interval is Student's t over the jackknife's pseudo-values of
    the repetitions (Arvesen 1969, Annals of Mathematical Statistics 40:2076-2100). Values,
    (n_repetitions, n_repetitions), are symmetric, at least three; their diagonal is not looked at.
    The interval ends at `within`.
    """
    n = len(values)
    of_each = values.sum(axis=1) - np.diag(values)
    total = of_each.sum()
    # theta_i = n theta - (n - 1) theta_(-i), the mean over all pairs and that without repetition i
    mean = total / (n * (n - 1))
    without_one = (total - 2 * of_each) / ((n - 1) * (n - 2))
    method = "Student's t over jackknife pseudo-values of {n} repetitions"
    pseudo = n * mean - (n - 1) * without_one
    return mean_over_repetitions(pseudo, level=level, within=within, method=method)

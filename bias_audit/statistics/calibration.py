"""How sure a network is of its answers, and how far that lies from the share of right ones.

Class scores (logits) have shape (n_images, n_classes), at least two classes. Larger values of
every measure of confidence mean more confident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax, logsumexp, softmax
from scipy.stats import norm, rankdata

from bias_audit.arrays import BoolArray, FloatArray, IntArray
from bias_audit.statistics.bootstrap import Weights, bootstrap_method, percentile_interval
from bias_audit.statistics.clusters import effective_size
from bias_audit.statistics.estimate import Estimate, agreeing_pairs
from bias_audit.statistics.influence import Statistic, average

_TEMPERATURES: Final = (0.01, 100.0)
"""The smallest and the largest; scores divided by the largest are as good as guessing."""


def largest_probability(logits: FloatArray) -> FloatArray:
    """Softmax probability of the most probable class, in [1 / n_classes, 1], (n_images,)."""
    return np.asarray(softmax(logits, axis=1).max(axis=1), np.float64)


def margin(logits: FloatArray) -> FloatArray:
    """Difference of the two largest softmax probabilities, in [0, 1], shape (n_images,)."""
    ordered = np.sort(softmax(logits, axis=1), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2], np.float64)


def certainty(logits: FloatArray) -> FloatArray:
    """1 - H / log(n_classes), H the entropy of the softmax probabilities; in [0, 1], (n_images,).

    0: all classes are as probable as each other; 1: one class has all probability.
    """
    entropy = entr(softmax(logits, axis=1)).sum(axis=1)
    return np.asarray(1 - entropy / np.log(logits.shape[1]), np.float64)


def negative_energy(logits: FloatArray) -> FloatArray:
    """Log of the sum of the exponentials of the class scores, without bounds, (n_images,).

    The negative free energy at temperature 1 (Liu, Wang, Owens & Li 2020, Energy-based
    out-of-distribution detection, arXiv:2010.03759).
    """
    return np.asarray(logsumexp(logits, axis=1), np.float64)


CONFIDENCE: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = MappingProxyType(
    {
        "softmax": largest_probability,
        "margin": margin,
        "entropy": certainty,
        "energy": negative_energy,
        "calibrated": largest_probability,
    }
)
"""By the names that configs use; "calibrated" takes class scores divided by a temperature."""


def losses(logits: FloatArray, codes: IntArray) -> FloatArray:
    """Cross-entropy of each image's right class, in nats, shape (n_images,)."""
    return np.asarray(-log_softmax(logits, axis=1)[np.arange(len(codes)), codes], np.float64)


def fitted_temperature(logits: FloatArray, codes: IntArray) -> float:
    """The number that class scores are divided by so that the mean cross-entropy is smallest.

    Guo, Pleiss, Sun & Weinberger 2017, On calibration of modern neural networks, ICML. The loss
    is convex in the inverse temperature, so its one minimum is found on a logarithmic scale.
    Codes are the right classes, shape (n_images,). The result is within [0.01, 100]; the largest
    is reached where the scores say nothing about the class.
    """

    def mean_loss(power: float) -> float:
        return float(losses(logits / np.exp(power), codes).mean())

    lowest, highest = np.log(_TEMPERATURES)
    found = minimize_scalar(mean_loss, None, (lowest, highest), method="bounded")
    return float(np.exp(found.x))


def cross_fitted_temperatures(logits: FloatArray, codes: IntArray, folds: IntArray) -> FloatArray:
    """The temperature for each image, fitted to the images of all other folds, (n_images,).

    Right classes and folds are by image, (n_images,).
    """
    temperatures = np.empty(len(codes))
    for fold in np.unique(folds):
        outside = folds != fold
        temperatures[~outside] = fitted_temperature(logits[outside], codes[outside])
    return temperatures


FEWEST_IN_BIN = 4
"""Independent images of a bin below which the calibration error is not measured: the variance that
is subtracted would be little known."""


def over_confidence(confidence: FloatArray, is_right: BoolArray, clusters: IntArray) -> Statistic:
    """Mean confidence minus the share of right answers, in [-1, 1]; negative: too cautious.

    Unlike the calibration error, it needs no bins and has no bias in small groups; but errors in
    both directions cancel. Confidence in [0, 1], right answers and clusters are by image,
    (n_images,). Its trials count images as pairs of a stated and an observed share, so that a
    group whose answers are all right is not taken for one that never errs.
    """
    found = average(confidence - is_right, clusters)
    return replace(found, trials=effective_size(clusters))


def calibration_error(
    confidence: FloatArray,
    is_right: BoolArray,
    clusters: IntArray,
    weights: Weights,
    *,
    n_bins: int,
    level: float,
) -> Estimate | None:
    """Root mean square of confidence minus share right, over bins with as many images each.

    Images of the same confidence share a bin, so that bins may be fewer.

    The naive squares are too large by the variance of each bin's mean, which is subtracted: the
    squared error, before it is cut at 0, is right on average for these bins (Kumar, Liang & Ma
    2019, Verified uncertainty calibration, NeurIPS; equal-mass bins as in Roelofs et al. 2022,
    AISTATS), here with the variance between clusters. The interval is that of a bootstrap of
    clusters, whose draws have that variance twice (that of the images and that of the drawing), so
    it is subtracted twice. A bin whose answers are all right, or all wrong, adds the width of
    Tango's interval of as many pairs that all agree.

    Args:
        confidence: In [0, 1], shape (n_images,).
        is_right: Whether the answer is right, shape (n_images,).
        clusters: Any numbers, shape (n_images,).
        weights: Of each image in each draw, as `bootstrap.cluster_weights` makes them, shape
            (n_draws, n_images).
        n_bins: At least 1.
        level: Coverage of the interval.

    Returns:
        None where a bin has fewer than `FEWEST_IN_BIN` clusters.
    """
    n, gaps = len(confidence), confidence - is_right
    bins = ((rankdata(confidence) - 0.5) * n_bins / max(n, 1)).astype(np.int64)
    bins = np.unique(bins, return_inverse=True)[1]
    of_bins = [clusters[bins == b] for b in range(int(bins.max(initial=-1)) + 1)]
    if not of_bins or min(len(np.unique(own)) for own in of_bins) < FEWEST_IN_BIN:
        return None
    in_bin = bins[:, None] == np.arange(len(of_bins))
    sizes = in_bin.sum(axis=0)
    means = gaps @ in_bin / sizes
    # S = sum over bins b of n_b / n * (d_b^2 - v_b), v_b the variance of the bin's mean gap d_b
    variances = np.array([_variance(gaps[bins == b], own) for b, own in enumerate(of_bins)])
    naive, excess = float(sizes @ means**2) / n, float(sizes @ variances) / n
    draws = _squares(gaps, in_bin, weights) - 2 * excess
    lower, upper = percentile_interval(draws, level=level) or (naive - excess,) * 2
    # Where all answers of a bin are alike, draws know nothing of how often they could differ.
    quantile = float(norm.ppf((1 + level) / 2))
    luck = np.array([agreeing_pairs(effective_size(own), quantile) for own in of_bins])
    right = is_right.astype(np.float64) @ in_bin / sizes
    luck[(right > 0) & (right < 1)] = 0
    away = np.abs(means)
    lower -= float(sizes @ (means**2 - np.maximum(away - luck, 0) ** 2)) / n
    upper += float(sizes @ ((away + luck) ** 2 - means**2)) / n
    value, low, high = (max(0.0, square) ** 0.5 for square in (naive - excess, lower, upper))
    return Estimate(
        value,
        min(low, value),
        max(high, value),
        level=level,
        n=len(np.unique(clusters)),
        method=bootstrap_method("clusters", len(weights)),
    )


def _variance(values: FloatArray, clusters: IntArray) -> float:
    """Of a mean, from the sums of its clusters."""
    inverse = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(inverse, weights=values - values.mean())
    n = len(sums)
    return float((sums**2).sum() / len(values) ** 2 * n / (n - 1))


def _squares(gaps: FloatArray, in_bin: BoolArray, weights: Weights) -> npt.NDArray[np.float64]:
    """The naive squared error of every draw, in the bins of the images themselves."""
    members = in_bin.astype(np.float64)
    counts = weights @ members
    sums = weights @ (members * gaps[:, None])
    squares = np.divide(sums**2, counts, out=np.zeros_like(sums), where=counts > 0)
    return np.asarray(squares.sum(axis=1) / counts.sum(axis=1))

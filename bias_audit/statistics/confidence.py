"""How sure a network is of its answers, by several measures, and how a temperature corrects it.

Class scores (logits) have shape (n_images, n_classes), at least two classes. Larger values of
every measure mean more confident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import entr, log_softmax, logsumexp, softmax

from bias_audit.arrays import FloatArray, IntArray

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

"""A number over several random draws of what it is measured on, such as random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bias_audit.statistics.inference import Measured


def mean_of(measures: Sequence[Measured]) -> Measured:
    """The mean of several numbers about the same images, at least one; draws add no error."""
    value = float(np.mean([measure.value for measure in measures]))
    influence = np.mean([measure.influence for measure in measures], axis=0)
    return replace(measures[0], value=value, influence=np.asarray(influence))


def compared_with_a_further_draw(by_layer: Sequence[Sequence[Measured]]) -> tuple[Measured, ...]:
    """The mean over draws at every layer, with the error of a further draw in its place.

    Between n draws of variance s^2 that error has the variance s^2 (1 + 1 / n), and n - 1 degrees
    of freedom: the layers of one draw share its weights, so further layers add little. The
    variance of a layer is its own or the mean over layers, whichever is larger; the spread between
    draws holds some of the images' own variance too. Both make it rather too large.

    Args:
        by_layer: For each layer one number for each draw, at least two; influences have units
            for the draws after the clusters.

    Returns:
        One number for each layer.
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

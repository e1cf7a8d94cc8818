"""A number over several random draws of what it is measured on, such as random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bias_audit.statistics.inference import FloatArray, Measured


def mean_of(measures: Sequence[Measured]) -> Measured:
    """The mean of several numbers about the same images, at least one; draws add no error."""
    value = float(np.mean([measure.value for measure in measures]))
    influence = np.mean([measure.influence for measure in measures], axis=0)
    return replace(measures[0], value=value, influence=np.asarray(influence))


def compared_with_a_further_draw(by_layer: Sequence[Sequence[Measured]]) -> tuple[Measured, ...]:
    """The mean over draws at every layer, with the error of a further draw in its place.

    Between n draws of variance s^2 that error has the variance s^2 (1 + 1 / n). A few draws say
    little of s^2, so it is pooled over the layers, which count for as many as their numbers are
    independent of each other: degrees of freedom are (n - 1) L^2 / sum of r^2 over all pairs of L
    layers with correlation r. The spread between draws holds some of the images' own variance
    too, which makes it rather too large.

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
    variance = float(own.mean()) * (1 + 1 / n)
    freedom = (n - 1) * _independent([mean.influence for mean in means])
    result = []
    for mean, deviations in zip(means, off, strict=True):
        size = float(np.sqrt((deviations**2).sum()))
        unit = deviations / size if size > 0 else np.full(n, 1 / np.sqrt(n))
        influence = mean.influence.copy()
        at = len(mean.weight)
        influence[at : at + n] += unit * np.sqrt(variance)
        result.append(replace(mean, influence=influence, seed_freedom=freedom))
    return tuple(result)


def _independent(influences: Sequence[FloatArray]) -> float:
    """How many of some numbers are as good as independent: n^2 / sum of squared correlations."""
    known = [each / size for each in influences if (size := np.sqrt((each**2).sum())) > 0]
    if not known:
        return 1.0
    stacked = np.stack(known)
    return float(len(known) ** 2 / ((stacked @ stacked.T) ** 2).sum())

"""Resampling whole clusters of images, and intervals from the draws."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import IntArray

Weights = npt.NDArray[np.uint16]

_NO_SPREAD = 1e-12


def cluster_weights(clusters: IntArray, n_draws: int, rng: np.random.Generator) -> Weights:
    """Draw as many clusters as there are, with replacement, `n_draws` times.

    Args:
        clusters: Cluster per image, shape (n_images,); any numbers.
        n_draws: Number of draws.
        rng: Source of randomness.

    Returns:
        How often each image's cluster was drawn, shape (n_draws, n_images): images of one cluster
        have the same weight, and over clusters the weights of a draw sum to their number.
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


def bootstrap_method(unit: str, n_draws: int) -> str:
    """How an interval was made, for `Estimate.method`; `unit` is "images" or "clusters"."""
    return f"percentile bootstrap over {unit}, {n_draws} draws"
